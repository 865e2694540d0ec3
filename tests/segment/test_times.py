"""Reading times."""

import pytest

from prosperstack_destination.segment.times import parse_time
from support.clocks import NEW_YEAR


@pytest.mark.parametrize(
    "value",
    [
        "2026-01-01T00:00:00Z",
        "2026-01-01T00:00:00.000Z",
        "2026-01-01T00:00:00.000000999Z",  # nanoseconds are cut off
        "2026-01-01T01:00:00+01:00",
        "2026-01-01T00:00:00",
        " 2026-01-01 ",
        "2026-01-01 00:00:00 +0000 UTC",
        "2026-01-01 00:00:00.000000808 +0000 UTC m=+70366.298768264",
        "2025-12-31 19:00:00 -0500 EST",
        1_767_225_600,
        1_767_225_600_000,
        1_767_225_600.0,
    ],
)
def test_the_forms_that_times_have(value: str | float) -> None:
    """ISO 8601, Go's form and Unix times are read, to the microsecond."""
    assert parse_time(value) == NEW_YEAR


def test_microseconds_are_kept() -> None:
    """Two events in the same millisecond are told apart."""
    assert parse_time("2026-01-01T00:00:00.123456Z") == NEW_YEAR + 123_456


@pytest.mark.parametrize(
    "value",
    [None, "", "yesterday", "2026-13-01", 1e300, -1e300, float("inf"), float("nan"), 10**400, -(10**400), 10**15],
)
def test_what_is_no_time_is_none(value: str | float | None) -> None:
    """What cannot be read as a time says nothing, and is no error."""
    assert parse_time(value) is None
