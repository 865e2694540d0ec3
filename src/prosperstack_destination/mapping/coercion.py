"""From a trait's value to a value of a property's type, or to the reason why there is none.

ProsperStack validates by type, and takes *any* unknown text as true for a boolean ("no" would be stored as
true), so what cannot be turned into exactly the type is refused here and never sent.
"""

import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final

from pydantic import JsonValue

from prosperstack_destination.mapping.catalog import PropertyType

#: A property's value: of the property's type, dates as ``YYYY-MM-DD``. None deletes what is there.
PropertyValue = str | int | float | bool | None

_NUMERAL: Final = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_INTEGRAL: Final = re.compile(r"[+-]?[0-9]+")
#: Text that is read as a number would be; other text is read as ISO 8601.
_NUMBER_TEXT: Final = re.compile(r"-?[0-9]{1,17}(\.[0-9]+)?")
_TRUE: Final = frozenset({"true", "t", "1"})
_FALSE: Final = frozenset({"false", "f", "0"})
#: The longest numeral that is looked at: more digits than a double can tell apart, by far.
_NUMERAL_LENGTH: Final = 64
#: Unix times start here, in March 1973: a smaller number is a year, an Excel date or a count, and no time.
_UNIX_FROM: Final = 100_000_000
#: From here on (the year 5138 in seconds, March 1973 in milliseconds) a Unix time is in milliseconds.
_MILLISECONDS_FROM: Final = 100_000_000_000
#: From here on (the year 5138 in milliseconds, March 1973 in microseconds) a Unix time is in microseconds.
_MICROSECONDS_FROM: Final = 100_000_000_000_000
#: Numbers that are a day as it is written, by how many digits they have.
_WRITTEN_DAYS: Final = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
#: The years of those that could be Unix times as well, which have more digits than a day alone.
_WRITTEN_YEARS: Final = range(1900, 2100)
#: A date before this year is a placeholder, as 0001-01-01 is for Go and .NET, or has only two digits of its year.
_FIRST_YEAR: Final = 1000


class CoercionError(ValueError):
    """The value is none of the type; ``str()`` says why, in words for the person who sent the trait."""


def coerce(value: JsonValue, to: PropertyType) -> PropertyValue:
    """Turn a trait's value into one of a property's type; null and ``""`` become None, which deletes.

    Total: any JSON value gives a value or `CoercionError`, never another exception.
    """
    return coercer(to)(value)


def coercer(to: PropertyType) -> Callable[[JsonValue], PropertyValue]:
    """`coerce` for one type."""
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
    """Text as it is; numbers and booleans by their JSON text."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and not math.isfinite(value):
        raise CoercionError("not a finite number")
    try:
        return str(value)
    except ValueError:  # Python writes out no integer of more than 4,300 digits
        raise CoercionError("the number is too large") from None


def number_of(value: JsonValue) -> int | float:
    """The number that a value is, or that its text is; whole ones as int. Raises `CoercionError`."""
    if value is None or isinstance(value, bool | dict | list):
        raise CoercionError(f"{_kind(value)} is not a number")
    if isinstance(value, str):
        text = value.strip()
        if len(text) > _NUMERAL_LENGTH or not _NUMERAL.fullmatch(text):
            raise CoercionError("the text is not a number")
        value = int(text) if _INTEGRAL.fullmatch(text) else float(text)
    return _plain(value)


def _plain(value: float) -> int | float:
    """A finite number, whole ones as int, so that 5800.0 and 5800 are the same value."""
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
        moment = moment_of(value)
        if moment.tzinfo is not None:  # a time without an offset is taken to be in UTC already
            moment = moment.astimezone(UTC)
    except CoercionError:
        raise
    except (ValueError, OverflowError):
        raise CoercionError("the text is not an ISO 8601 date such as 2021-05-04") from None
    if moment.year < _FIRST_YEAR:
        raise CoercionError(
            f"the year {moment.year:04} is not the year of a date: it is a placeholder, or mistyped"
        )
    return moment.date().isoformat()


def moment_of(value: str | float) -> datetime:
    """The time that text or a number says, with its offset where it has one.

    Text is ISO 8601, or a number. A number is a day as it is written (``20210504``, with or without its hours and
    minutes, and seconds), or Unix time in seconds, milliseconds or microseconds. Raises `CoercionError` for other
    numbers, and ValueError for other text.
    """
    if isinstance(value, str):
        text = value.strip()
        if not _NUMBER_TEXT.fullmatch(text):
            return datetime.fromisoformat(text)
        value = float(text) if "." in text else int(text)
    return _written_day(value) or _unix_moment(value)


def _written_day(value: float) -> datetime | None:
    """The time that the digits of a number write out; None: it is no such number."""
    if not 0 < value < _MICROSECONDS_FROM or value != int(value):
        return None
    digits = str(int(value))
    form = _WRITTEN_DAYS.get(len(digits))
    if form is None or (len(digits) > len("YYYYMMDD") and int(digits[:4]) not in _WRITTEN_YEARS):
        return None
    try:
        return datetime.strptime(digits, form)  # noqa: DTZ007 -- digits have no zone
    except ValueError:
        return None


def _unix_moment(value: float) -> datetime:
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
    PropertyType.NUMBER: number_of,
    PropertyType.BOOLEAN: _boolean,
    PropertyType.DATE: _date,
}
