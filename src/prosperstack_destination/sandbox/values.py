"""Property values: validation by type, and format for people."""

import math
import re
from datetime import date, datetime
from typing import Any, Final

#: Stored value: text, number, boolean, or an ISO 8601 date as text.
Value = str | int | float | bool

_BOOLEANS: Final = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}
#: Narrower than Python's parsers, which also accept "1_000", " 5 ", "20210504" and "2021-W18-2".
_NUMBER: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_DATE: Final = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})([T ].+)?")


class InvalidValue(ValueError):
    """Error for a value that does not have its property's type."""


def validated(value: Any, kind: str) -> Value:
    """Return the value to store. Raises `InvalidValue` for a value that does not have the type.

    The sandbox is strict where the real API is lax, which reads any undocumented text as a boolean true. A datetime
    becomes its date as written, regardless of its zone.
    """
    match kind:
        case "text" if isinstance(value, str):
            return _text(value)
        case "number" if isinstance(value, int | float | str) and not isinstance(value, bool):
            return _number(value)
        case "boolean" if isinstance(value, bool):
            return value
        case "boolean" if isinstance(value, str) and value in _BOOLEANS:
            return _BOOLEANS[value]
        case "date" if isinstance(value, str):
            return _date(value)
    raise InvalidValue(f"must be a {kind}")


def formatted(value: Value, display: str | None) -> str:
    """Return a value as text for people; ``display`` is the property's format."""
    if isinstance(value, bool):
        return "Yes" if value else "No"
    if isinstance(value, int | float):
        return f"{'-' if value < 0 else ''}${abs(value):,.2f}" if display == "currency" else f"{value:,}"
    return value


def _text(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate: JSON can hold it, a response cannot
        raise InvalidValue("must be a text in Unicode") from None
    return text


def _number(value: int | float | str) -> int | float:
    if isinstance(value, str) and _NUMBER.fullmatch(value) is None:
        raise InvalidValue("must be a number")
    try:
        finite = math.isfinite(float(value))
    except OverflowError:  # an integer above the range of a float
        finite = False
    if not finite:  # Python parses NaN and 1e999, which JSON cannot hold
        raise InvalidValue("must be a finite number")
    if isinstance(value, str):
        return int(value) if value.removeprefix("-").isdigit() else float(value)
    return value


def _date(text: str) -> str:
    match = _DATE.fullmatch(text)
    try:
        if match is not None:
            datetime.fromisoformat(text)
            return date.fromisoformat(match[1]).isoformat()
    except ValueError:
        pass
    raise InvalidValue("must be an ISO 8601 date")
