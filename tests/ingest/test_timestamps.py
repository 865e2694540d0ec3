"""The reader of event times."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prosperstack_destination.ingest.timestamps import EARLIEST, UnreadableTime, read_time
from support.clocks import NEW_YEAR

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "value",
    [
        "2026-01-01T00:00:00Z",
        "2026-01-01T00:00:00.000Z",
        "2026-01-01T00:00:00.000000999Z",  # nanoseconds are cut off
        "2026-01-01T01:00:00+01:00",
        "2026-01-01T00:00:00",
        "20260101T000000Z",
        " 2026-01-01 ",
        "2026-01-01t00:00:00z",
        # Go
        "2026-01-01 00:00:00 +0000 UTC",
        "2026-01-01 00:00:00.000000808 +0000 UTC m=+70366.298768264",
        "2025-12-31 19:00:00 -0500 EST",
        "2025-12-31 21:00:00 -0300 -03",
        # Snowflake
        "2025-12-31 17:00:00.000 -0700",
        "2026-01-01 00:00:00.000 Z",
        "2025-12-31 17:00:00.000 -07:00",
        "Wed, 31 Dec 2025 17:00:00 -0700",
        # BigQuery
        "2026-01-01 00:00:00 UTC",
        "2026-01-01 00:00:00.000000 UTC",
        "1.7672256E9",
        # Redshift, PostgreSQL
        "2026-01-01 00:00:00+00",
        "2026-01-01 05:30:00.000+05:30",
        "2026-01-01 00:00:00.000000",
        # SQL Server
        "2026-01-01 00:00:00.0000000 +00:00",
        # Spreadsheets
        "2026-01-01 0:00",
        "2026-01-01 00:00:00,000",
        "2026/01/01 00:00",
        "2026-01-01 12:00 AM",
        "2026-01-01\u00a000:00:00",
        # Names of months
        "Thu, 01 Jan 2026 00:00:00 GMT",
        "Thu Jan 01 2026 01:00:00 GMT+0100 (Central European Standard Time)",
        "January 1, 2026",
        "01-JAN-2026",
        # Numbers as text
        "1767225600",
        "1767225600.0",
        "1767225600000",
        "1767225600000000",
        "1767225600000000000",
        "20260101",
        "202601010000",
        "20260101000000",
        # Numbers
        1_767_225_600,
        1_767_225_600_000,
        1_767_225_600_000_000,
        1_767_225_600_000_000_000,
        1_767_225_600.0,
        20_260_101,
        20_260_101_000_000,
    ],
)
def test_the_forms_that_times_have(value: str | float) -> None:
    """Every form in which a time says by itself which moment it is can be read."""
    assert read_time(value) == NEW_YEAR


@pytest.mark.parametrize("value", ["2026-01-01T00:00:00.123456Z", "1767225600.123456", 1_767_225_600_123_456])
def test_microseconds_are_kept(value: str | float) -> None:
    """Two events in the same millisecond have different times."""
    assert read_time(value) == NEW_YEAR + 123_456


@pytest.mark.parametrize("digits", ["1612010100123", "1612010112345"])
def test_digits_are_a_unix_time(digits: str) -> None:
    """Milliseconds that would also pass for a day of 1612 in ISO's basic form are milliseconds."""
    assert read_time(digits) == int(digits) * 1000


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("", "can be read"),
        ("yesterday", "can be read"),
        ("infinity", "can be read"),
        ("2026-01-01 00:00:00 PST", "can be read"),  # Pacific, or Pakistan
        ("1.76723E+12", "can be read"),  # a spreadsheet cut digits off
        ("10000-01-01", "can be read"),
        ("x" * 10_000, "not a time"),
        ("9" * 10_000, "not a time"),
        ("2026-13-01", "no such day"),
        ("2026-01-01 25:00:00", "no such day"),
        ("2026-01-01 00:00:00 +99:99", "no such day"),
        ("2026-01-01 13:00 PM", "not one of 12"),
        ("1 Foo 2026", "names no month"),
        ("05/04/2021 12:00", "which number is the day"),
        ("25/04/2021", "which number is the day"),
        ("5.4.2021", "which number is the day"),
        ("05/04/21", "which number is the day"),
        (1e300, "not a Unix time"),
        (-1e300, "not a Unix time"),
        (float("inf"), "not a Unix time"),
        (float("nan"), "not a Unix time"),
        (10**400, "not a Unix time"),
        (-(10**400), "not a Unix time"),
        (10**13 - 1, "not a Unix time"),  # the year 2286
        (20_261_301, "no such day"),
        (None, "neither text nor a number"),
        (True, "neither text nor a number"),
        ({}, "neither text nor a number"),
        ([], "neither text nor a number"),
        (0, "before the year 2000"),
        ("0", "before the year 2000"),
        (44_320, "before the year 2000"),  # a spreadsheet's number of a day
        (-1, "before the year 2000"),
        ("1970-01-01", "before the year 2000"),
        ("1999-12-31T23:59:59Z", "before the year 2000"),
        ("0001-01-01T00:00:00+00:01", "before the year 2000"),
        ("0001-01-01T00:00:00Z", "before the year 2000"),
    ],
)
def test_values_that_are_no_time(value: object, reason: str) -> None:
    """A value that is no time of an event is refused with the reason, which does not quote it."""
    with pytest.raises(UnreadableTime, match=reason):
        read_time(value)


def test_a_form_that_is_given() -> None:
    """A given form is the only one for text; numbers are read as ever."""
    assert read_time("01.02.2026 00:00", "%d.%m.%Y %H:%M") == NEW_YEAR + 31 * 86_400_000_000
    assert read_time(1_767_225_600, "%d.%m.%Y") == NEW_YEAR
    with pytest.raises(UnreadableTime, match=r"%d\.%m\.%Y"):
        read_time("2026-01-01", "%d.%m.%Y")


@given(st.text() | st.floats() | st.integers() | st.from_regex(r"[0-9./:T+ -]{4,30}(UTC|Z)?", fullmatch=True))
def test_any_value_is_read_or_refused(value: object) -> None:
    """Whatever is sent is a time from 2000 on, or `UnreadableTime`."""
    try:
        at = read_time(value)
    except UnreadableTime:
        return
    assert at >= EARLIEST


@given(st.datetimes(min_value=datetime(2000, 1, 2), max_value=datetime(2099, 12, 30)), st.integers(-14, 14))  # noqa: DTZ001 -- offsets follow
def test_forms_agree(moment: datetime, hours: int) -> None:
    """The same moment is read from ISO, a warehouse's form and Unix microseconds alike."""
    at = (moment.replace(tzinfo=UTC) - EPOCH) // timedelta(microseconds=1)
    there = moment + timedelta(hours=hours)

    assert read_time(at) == at
    assert read_time(str(at)) == at
    assert read_time(f"{moment:%Y-%m-%d %H:%M:%S.%f} UTC") == at
    assert read_time(f"{there.isoformat()}{hours:+03d}:00") == at
    assert read_time(f"{there:%Y-%m-%d %H:%M:%S.%f} {hours:+03d}00") == at
