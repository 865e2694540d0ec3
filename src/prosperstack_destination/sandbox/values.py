"""Property values: validated by type, and as people see them."""

import math
import re
from datetime import date, datetime
from typing import Any, Final

#: A value as it is kept: text, number, boolean, or an ISO date as text.
Value = str | int | float | bool

_BOOLEANS: Final = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}
#: Narrower than Python's own readers, which also take "1_000", " 5 ", "20210504" and "2021-W18-2".
_NUMBER: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_DATE: Final = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})([T ].+)?")


class InvalidValue(ValueError):
    """A value is none of its property's type; the text says so."""


def validated(value: Any, kind: str) -> Value:
    """A value as it is kept. Raises `InvalidValue` for what is none of the type.

    The sandbox is strict where the real API is lax: that one takes any other text than the documented ones for
    a boolean that is true. A datetime becomes its date as written, in whatever zone it is.
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
    """A value as the product shows it; ``display`` is the property's format."""
    if isinstance(value, bool):
        return "Yes" if value else "No"
    if isinstance(value, int | float):
        return f"{'-' if value < 0 else ''}${abs(value):,.2f}" if display == "currency" else f"{value:,}"
    return value


def _text(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:  # half a surrogate pair: JSON can carry it, no answer could
        raise InvalidValue("must be a text in Unicode") from None
    return text


def _number(value: int | float | str) -> int | float:
    if isinstance(value, str) and _NUMBER.fullmatch(value) is None:
        raise InvalidValue("must be a number")
    try:
        finite = math.isfinite(float(value))
    except OverflowError:  # an integer past what a float holds
        finite = False
    if not finite:  # Python reads NaN and 1e999 from JSON, which cannot carry them back
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
