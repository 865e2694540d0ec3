"""Property values: validated by type, and as people see them."""

from datetime import date, datetime
from typing import Any

#: A value as it is kept: text, number, boolean, or an ISO date as text.
Value = str | int | float | bool

_BOOLEANS = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}


class InvalidValue(ValueError):
    """A value is none of its property's type; the text says so."""


def validated(value: Any, kind: str) -> Value:
    """A value of a type, or `InvalidValue`. The real API takes any text for a boolean; the sandbox is strict."""
    match kind:
        case "text" if isinstance(value, str):
            return value
        case "number" if isinstance(value, int | float) and not isinstance(value, bool):
            return value
        case "number" if isinstance(value, str):
            return _number(value)
        case "boolean" if isinstance(value, bool):
            return value
        case "boolean" if isinstance(value, str) and value.lower() in _BOOLEANS:
            return _BOOLEANS[value.lower()]
        case "date" if isinstance(value, str):
            return _date(value)
    raise InvalidValue(f"must be a {kind}")


def formatted(value: Value, display: str | None) -> str:
    """A value as the product shows it; ``display`` is the property's format."""
    if isinstance(value, bool):
        return "Yes" if value else "No"
    if isinstance(value, int | float):
        return f"${value:,.2f}" if display == "currency" else f"{value:,}"
    return value


def _number(text: str) -> int | float:
    try:
        number = float(text)
    except ValueError:
        raise InvalidValue("must be a number") from None
    if number != number or number in (float("inf"), float("-inf")):
        raise InvalidValue("must be a number")
    return int(number) if number.is_integer() else number


def _date(text: str) -> str:
    for parse in (date.fromisoformat, datetime.fromisoformat):
        try:
            return parse(text).isoformat()[:10]
        except ValueError:
            continue
    raise InvalidValue("must be an ISO 8601 date")
