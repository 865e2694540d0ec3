"""Coercion of a trait's value to a property's type.

ProsperStack validates values by type, but stores *any* unknown text as true in a boolean property
("no" becomes true). Coercion therefore refuses a value that has no exact equivalent in the type, and the value is
never sent.
"""

import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final

from pydantic import JsonValue

from prosperstack_destination.mapping.catalog import PropertyType

#: Value of a property, of the property's type; dates are ``YYYY-MM-DD``. None deletes the value.
PropertyValue = str | int | float | bool | None

_NUMERAL: Final = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_INTEGRAL: Final = re.compile(r"[+-]?[0-9]+")
#: Text that `parse_datetime` reads as a number; it reads other text as ISO 8601.
_NUMBER_TEXT: Final = re.compile(r"-?[0-9]{1,17}(\.[0-9]+)?")
_TRUE: Final = frozenset({"true", "t", "1"})
_FALSE: Final = frozenset({"false", "f", "0"})
#: Longest accepted numeral, in characters. A double distinguishes far fewer digits.
_NUMERAL_LENGTH: Final = 64
#: Smallest Unix time, in March 1973. A smaller number is a year, an Excel date or a count.
_UNIX_FROM: Final = 100_000_000
#: Smallest Unix time in milliseconds (March 1973; in seconds it would be the year 5138).
_MILLISECONDS_FROM: Final = 100_000_000_000
#: Smallest Unix time in microseconds (March 1973; in milliseconds it would be the year 5138).
_MICROSECONDS_FROM: Final = 100_000_000_000_000
#: Formats of numbers that write out a day, by their number of digits.
_WRITTEN_DAYS: Final = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
#: Accepted years where such a number also has a time of day, and could be a Unix time.
_WRITTEN_YEARS: Final = range(1900, 2100)
#: Earliest accepted year. Earlier dates are placeholders (0001-01-01 in Go and .NET) or have two-digit years.
_FIRST_YEAR: Final = 1000


class CoercionError(ValueError):
    """A value has no equivalent in the type; ``str()`` is the reason, worded for the sender of the trait."""


def coerce(value: JsonValue, to: PropertyType) -> PropertyValue:
    """Return a trait's value as a property's type; null and ``""`` become None, which deletes.

    Raises `CoercionError`, and no other exception for any JSON value.
    """
    return coercer(to)(value)


def coercer(to: PropertyType) -> Callable[[JsonValue], PropertyValue]:
    """Return `coerce` for one type."""
    to_type = _COERCERS[to]

    def coerce_one(value: JsonValue) -> PropertyValue:
        if value is None or value == "":
            return None
        if isinstance(value, dict | list):
            raise CoercionError(f"{_kind(value)} is not a single value")
        return to_type(value)

    return coerce_one


def _kind(value: JsonValue) -> str:
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "an array"
    return "a boolean" if isinstance(value, bool) else "null"


def _text(value: str | float | bool) -> str:
    """Return text unchanged, numbers and booleans as their JSON text."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and not math.isfinite(value):
        raise CoercionError("not a finite number")
    try:
        return str(value)
    except ValueError:  # Python formats no integer of more than 4,300 digits
        raise CoercionError("the number is too large") from None


def parse_number(value: JsonValue) -> int | float:
    """Return a number, or the number that a text spells; whole numbers as int. Raises `CoercionError`."""
    if value is None or isinstance(value, bool | dict | list):
        raise CoercionError(f"{_kind(value)} is not a number")
    if isinstance(value, str):
        text = value.strip()
        if len(text) > _NUMERAL_LENGTH or not _NUMERAL.fullmatch(text):
            raise CoercionError("the text is not a number")
        value = int(text) if _INTEGRAL.fullmatch(text) else float(text)
    return _plain(value)


def _plain(value: float) -> int | float:
    """Return a finite number, whole numbers as int, so that 5800.0 and 5800 are the same value."""
    try:
        as_float = float(value)
    except OverflowError:
        as_float = math.inf
    if not math.isfinite(as_float):
        raise CoercionError("the number is too large")
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value


def _boolean(value: str | float | bool) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        word = value.strip().lower()
        if word in _TRUE:
            return True
        if word in _FALSE:
            return False
        raise CoercionError("the text is none of true, t, 1, false, f, 0")
    if value in (0, 1):
        return value == 1
    raise CoercionError("of the numbers only 1 and 0 are booleans")


def _date(value: str | float | bool) -> str:
    if isinstance(value, bool):
        raise CoercionError("a boolean is not a date")
    try:
        time = parse_datetime(value)
        if time.tzinfo is not None:  # a time without an offset is in UTC already
            time = time.astimezone(UTC)
    except CoercionError:
        raise
    except (ValueError, OverflowError):
        raise CoercionError("the text is not an ISO 8601 date such as 2021-05-04") from None
    if time.year < _FIRST_YEAR:
        raise CoercionError(f"the year {time.year:04} is not the year of a date: it is a placeholder, or mistyped")
    return time.date().isoformat()


def parse_datetime(value: str | float) -> datetime:
    """Parse text or a number as a time, with its offset where it has one.

    Text is ISO 8601 or a number. A number is a written day (``20210504``, optionally followed by hours and minutes,
    and by seconds) or a Unix time in seconds, milliseconds or microseconds. Raises `CoercionError` for other
    numbers and `ValueError` for other text.
    """
    if isinstance(value, str):
        text = value.strip()
        if not _NUMBER_TEXT.fullmatch(text):
            return datetime.fromisoformat(text)
        value = float(text) if "." in text else int(text)
    return _parse_written_day(value) or _parse_unix_time(value)


def _parse_written_day(value: float) -> datetime | None:
    """Return the time that the digits of a number write out, or None."""
    if not 0 < value < _MICROSECONDS_FROM or value != int(value):
        return None
    digits = str(int(value))
    format_ = _WRITTEN_DAYS.get(len(digits))
    if format_ is None or (len(digits) > len("YYYYMMDD") and int(digits[:4]) not in _WRITTEN_YEARS):
        return None
    try:
        return datetime.strptime(digits, format_)  # noqa: DTZ007 -- digits have no zone
    except ValueError:
        return None


def _parse_unix_time(value: float) -> datetime:
    size = abs(value)
    if size < _UNIX_FROM:
        raise CoercionError(
            "a number of less than nine digits is not a Unix time, and not a day such as 20210504 either"
        )
    per_second = 1 if size < _MILLISECONDS_FROM else 1000 if size < _MICROSECONDS_FROM else 1_000_000
    try:
        return datetime.fromtimestamp(value / per_second, UTC)
    except (ValueError, OverflowError, OSError):
        raise CoercionError("the number is not a Unix time in seconds, milliseconds or microseconds") from None


_COERCERS: Final[Mapping[PropertyType, Callable[[str | float | bool], PropertyValue]]] = {
    PropertyType.TEXT: _text,
    PropertyType.NUMBER: parse_number,
    PropertyType.BOOLEAN: _boolean,
    PropertyType.DATE: _date,
}
