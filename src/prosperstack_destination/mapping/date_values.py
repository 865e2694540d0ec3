"""Dates and times in the forms that people write, seen in an account's time zone."""

import re
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from pydantic import JsonValue

from prosperstack_destination.mapping.coercion import CoercionError, parse_datetime

_DIRECTIVE: Final = re.compile(r"%(.?)")
_DIRECTIVES: Final = frozenset("aAbBdHIjmMpSfyYzZcxX%")
_TIME_OF_DAY: Final = frozenset("HIMSfpXcz")
#: Other notations for the parts of a date, with the directives to use instead.
_FOREIGN_PARTS: Final = {
    "YYYY": "%Y",
    "yyyy": "%Y",
    "YY": "%y",
    "MM": "%m",
    "DD": "%d",
    "dd": "%d",
    "HH": "%H",
    "mm": "%M",
}
_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d")
_NO_TIME: Final = "it is no date and time, so it cannot be seen in another time zone"
#: Units of `shift` in days or seconds; months and years have no fixed length.
_DAYS: Final = {"day": 1, "week": 7}
_SECONDS: Final = {"hour": 3_600, "minute": 60, "second": 1}
_MONTHS: Final = {"month": 1, "quarter": 3, "year": 12}
UNITS: Final = (*_MONTHS, *_DAYS, *_SECONDS)


def check_format(text: str) -> None:
    """Raise `ValueError` for a text that is not a date format (e.g. ``%d/%m/%Y``)."""
    if "%" not in text:
        for foreign, directive in _FOREIGN_PARTS.items():
            text = text.replace(foreign, directive)
        hint = f", e.g. {text}" if "%" in text else ", e.g. %d/%m/%Y"
        raise ValueError(f"write the parts of a date with %{hint}")
    for letter in _DIRECTIVE.findall(text):
        if letter not in _DIRECTIVES or not letter:
            raise ValueError(f"%{letter} is not a part of a date: use %Y %m %d %H %M %S, %b %B %y %p or %z")


def read_in_format(forms: Sequence[str], value: JsonValue) -> JsonValue:
    """Return a date in the first format that fits, as ISO text; other forms of a date stay unchanged.

    Raises `CoercionError`.
    """
    if value is None or value == "":
        return value
    expected = " or ".join(forms)
    if isinstance(value, bool | dict | list):
        raise CoercionError(f"it is no text that could be a date of the form {expected}")
    text = str(value).strip()
    for form in forms:
        try:
            time = datetime.strptime(text, form)  # noqa: DTZ007 -- the format may have a zone
        except ValueError:
            continue
        has_time = _TIME_OF_DAY.intersection(_DIRECTIVE.findall(form))
        return time.isoformat() if has_time else time.date().isoformat()
    try:
        parse_datetime(value)
    except (ValueError, OverflowError):
        raise CoercionError(f"it is no date of the form {expected}, and no ISO 8601 date either") from None
    return value


def in_zone(zone: ZoneInfo, value: JsonValue) -> JsonValue:
    """Return a time as the local time of a zone, as ISO text; a day stays. Raises `CoercionError`."""
    if value is None or value == "" or (isinstance(value, str) and _DAY.fullmatch(value.strip())):
        return value
    if isinstance(value, bool | dict | list):
        raise CoercionError(_NO_TIME)
    try:
        return _local(zone, value).isoformat()
    except CoercionError as error:
        raise CoercionError(f"{_NO_TIME}: {error}") from None
    except (ValueError, OverflowError):
        raise CoercionError(_NO_TIME) from None


def local_time(zone: ZoneInfo, value: JsonValue) -> datetime:
    """Return a time in a zone; one without an offset is local already. Raises `CoercionError`."""
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        raise CoercionError("it is no date")
    try:
        return _local(zone, value)
    except CoercionError:
        raise
    except (ValueError, OverflowError):
        raise CoercionError("the text is not an ISO 8601 date such as 2021-05-04") from None


def _local(zone: ZoneInfo, value: str | float) -> datetime:
    time = parse_datetime(value)
    return time if time.tzinfo is None else time.astimezone(zone).replace(tzinfo=None)


def write_date(zone: ZoneInfo, form: str, value: JsonValue) -> str:
    """Return a date in a format such as ``%d.%m.%Y``. Raises `CoercionError`."""
    try:
        check_format(form)
        return local_time(zone, value).strftime(form)
    except ValueError as error:
        raise CoercionError(str(error)) from None


def shift(zone: ZoneInfo, value: JsonValue, amount: int, unit: str) -> str:
    """Return a date plus an amount of units, as ISO text; a day stays a day. Raises `CoercionError`."""
    name = unit.strip().lower().removesuffix("s")
    if name not in UNITS:
        raise CoercionError(f"there is no unit {unit[:20]!r}: write {', '.join(each + 's' for each in UNITS)}")
    time = local_time(zone, value)
    try:
        if name in _MONTHS:
            shifted = _add_months(time, amount * _MONTHS[name])
        else:
            shifted = time + timedelta(days=amount * _DAYS.get(name, 0), seconds=amount * _SECONDS.get(name, 0))
    except (ValueError, OverflowError):
        raise CoercionError("the date would be before the year 1, or after the year 9999") from None
    is_day = isinstance(value, str) and _DAY.fullmatch(value.strip()) and name not in _SECONDS
    return shifted.date().isoformat() if is_day else shifted.isoformat()


def days_between(zone: ZoneInfo, start: JsonValue, end: date) -> int:
    """Return the days from a date to another one, negative for one that is later. Raises `CoercionError`."""
    return (end - local_time(zone, start).date()).days


def _add_months(time: datetime, months: int) -> datetime:
    """Return a time plus a number of months; the last day of a shorter month replaces a day that it lacks."""
    year, month = divmod(time.year * 12 + time.month - 1 + months, 12)
    first = time.replace(year=year, month=month + 1, day=1)
    following = (first.replace(day=28) + timedelta(days=4)).replace(day=1)
    return first.replace(day=min(time.day, (following - timedelta(days=1)).day))
