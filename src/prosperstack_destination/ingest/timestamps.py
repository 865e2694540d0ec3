"""The reader of event times, for calls and for imported rows alike."""

import re
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
#: The earliest time that an event may have, in microseconds: 2000-01-01. Earlier ones come from clocks that were
#: never set (0, 0001-01-01, 1970-01-01, 1980-01-06).
EARLIEST: Final = 946_684_800_000_000
#: The year 2100 in microseconds: a number beyond it is not a Unix time.
_LATEST_UNIX: Final = 4_102_444_800_000_000
#: Unix times by their size: below a limit, the microseconds of a unit. No two units overlap from 2000 on.
_UNITS: Final = (
    (10**11, Decimal(1_000_000)),
    (10**14, Decimal(1_000)),
    (10**17, Decimal(1)),
    (10**20, Decimal("0.001")),
)
#: A Unix time as text; BigQuery's API writes it as ``1.6201296E9``.
_UNIX: Final = re.compile(r"-?\d{1,20}(?:\.\d{0,20})?|\d\.\d{1,18}E9", re.ASCII)
#: ``20210504``, ``202105041200`` and ``20210504120000``: as Unix times they are all before 2000, or after 2100.
_COMPACT: Final = re.compile(r"(20\d\d)(\d\d)(\d\d)(?:(\d\d)(\d\d)(\d\d)?)?", re.ASCII)
_TIME: Final = (
    r"(?:[T ,]+(?P<hour>\d\d?):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:[.,](?P<fraction>\d{1,9}))?)?"
    r"(?: ?(?P<half>[AP]M))?"
    r"(?: ?(?:(?:Z|UTC|GMT)|(?:UTC|GMT)?(?P<sign>[+-])(?P<hours>\d\d)(?::?(?P<minutes>\d\d))?"
    r"(?: [A-Z0-9+-]+)?(?: M=\S+)?)(?: \(.*\))?)?)?"
)
#: What warehouses, spreadsheets and languages write, in upper case, with single spaces: the year, or the month's
#: name, says which number is what. ``M=`` ends Go's ``Time.String()``, and brackets JavaScript's ``Date``.
_WRITTEN: Final = tuple(
    re.compile(date + _TIME, re.ASCII)
    for date in (
        r"(?P<year>\d{4})(?P<_mark>[-/])(?P<month>\d\d?)(?P=_mark)(?P<day>\d\d?)",
        r"(?:[A-Z]{3,9},? )?(?P<day>\d\d?)[ -](?P<month>[A-Z]{3,9})[ -](?P<year>\d{4})",
        r"(?:[A-Z]{3,9},? )?(?P<month>[A-Z]{3,9}) (?P<day>\d\d?),? (?P<year>\d{4})",
    )
)
_MONTHS: Final = (
    *("JANUARY", "FEBRUARY", "MARCH", "APRIL", "MAY", "JUNE", "JULY"),
    *("AUGUST", "SEPTEMBER", "OCTOBER", "NOVEMBER", "DECEMBER"),
)
_REGIONAL: Final = re.compile(r"\d\d?[/.-]\d\d?[/.-](?:\d{4}|\d\d)(?!\d)")
#: The longest text that is read as a time, in characters.
_LONGEST: Final = 120


class UnreadableTime(ValueError):
    """The value is not an event time; ``str()`` is the reason, without the value.

    ``is_regional``: a given format would tell its day from its month.
    """

    def __init__(self, reason: str, *, is_regional: bool = False) -> None:
        super().__init__(reason)
        self.is_regional = is_regional


def read_time(value: object, form: str | None = None) -> int:
    """Return a time in microseconds since the epoch. Raises `UnreadableTime`.

    Text: ISO 8601, the forms of Snowflake, BigQuery, Redshift, PostgreSQL, spreadsheets and Go, dates with the
    month's name, and Unix times; numbers: Unix times in seconds, milliseconds, microseconds or nanoseconds, and
    ``YYYYMMDD``. A time without an offset is in UTC. ``form`` (as `datetime.strptime` takes it): the only form that
    text may have.
    """
    if isinstance(value, str):
        at = _of_text(value) if form is None else _of_moment(_in_form(value.strip(), form))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        at = _of_number(value)
    else:
        raise UnreadableTime("it is neither text nor a number")
    if at < EARLIEST:
        raise UnreadableTime("it is before the year 2000, so the clock that told it is wrong")
    return at


def _of_text(value: str) -> int:
    text = value.strip()
    if text[4:5] == "-":
        try:
            return _of_moment(datetime.fromisoformat(text))  # the usual form
        except ValueError:
            pass
    if len(text) > _LONGEST:
        raise UnreadableTime("the text is not a time")
    text = " ".join(text.upper().split())
    if compact := _COMPACT.fullmatch(text):
        return _of_moment(_compact(compact))
    if _UNIX.fullmatch(text):
        return _of_unix(Decimal(text))
    for form in _WRITTEN:
        if found := form.fullmatch(text):
            return _of_moment(_written(found))
    if _REGIONAL.match(text):
        raise UnreadableTime("it does not say which number is the day and which is the month", is_regional=True)
    try:
        return _of_moment(datetime.fromisoformat(text))  # the basic form, e.g. 20210504T120000Z
    except ValueError:
        raise UnreadableTime("the text is not a time that can be read, such as 2021-05-04T12:00:00-07:00") from None


def _of_number(value: float) -> int:
    if not abs(value) < _UNITS[-1][0]:
        raise UnreadableTime("the number is not a Unix time")
    if value == int(value) and (compact := _COMPACT.fullmatch(str(int(value)))):
        return _of_moment(_compact(compact))
    return _of_unix(Decimal(value))


def _of_unix(value: Decimal) -> int:
    unit = next((unit for limit, unit in _UNITS if abs(value) < limit), None)
    if unit is None or (at := int(value * unit)) >= _LATEST_UNIX:
        raise UnreadableTime("the number is not a Unix time")
    return at


def _of_moment(moment: datetime) -> int:
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH) // _MICROSECOND


def _in_form(text: str, form: str) -> datetime:
    try:
        return datetime.strptime(text, form)  # noqa: DTZ007 -- without an offset it is taken as UTC
    except ValueError:
        raise UnreadableTime(f"it is not in the form {form}") from None


def _compact(found: re.Match[str]) -> datetime:
    """The time that `_COMPACT` found."""
    year, month, day, hour, minute, second = (int(part or 0) for part in found.groups())
    return _moment(year, month, day, hour, minute, second)


def _written(found: re.Match[str]) -> datetime:
    """The time that one of `_WRITTEN` found."""
    part = found.groupdict()
    name, hour = part["month"], int(part["hour"] or 0)
    month = int(name) if name.isdigit() else _month(name)
    if part["half"]:
        if not 1 <= hour <= 12:
            raise UnreadableTime("the text is not a time: its hour is not one of 12")
        hour = hour % 12 + (12 if part["half"] == "PM" else 0)
    fraction = int((part["fraction"] or "0")[:6].ljust(6, "0"))
    offset = timedelta(hours=int(part["hours"] or 0), minutes=int(part["minutes"] or 0))
    offset = -offset if part["sign"] == "-" else offset
    date = int(part["year"]), month, int(part["day"])
    return _moment(*date, hour, int(part["minute"] or 0), int(part["second"] or 0), fraction, offset)


def _month(name: str) -> int:
    for number, month in enumerate(_MONTHS, 1):
        if name in (month, month[:3]) or name == "SEPT" == month[:4]:
            return number
    raise UnreadableTime("the text is not a time: it names no month in English")


def _moment(
    year: int,
    month: int,
    day: int,
    hour: int,
    minute: int,
    second: int,
    fraction: int = 0,
    offset: timedelta = timedelta(),
) -> datetime:
    try:
        return datetime(year, month, day, hour, minute, second, fraction, timezone(offset))
    except ValueError:
        raise UnreadableTime("there is no such day or time") from None
