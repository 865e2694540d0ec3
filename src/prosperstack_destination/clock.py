"""Times of this service: whole microseconds since the Unix epoch, in UTC."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from datetime import time as time_of_day

#: Function that returns the present, in microseconds since the epoch. A parameter, so that tests control the time.
Clock = Callable[[], int]

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)
_LAST = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)
_UNSTEPPED = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # CLOCK_BOOTTIME exists on Linux only
#: Tolerance for stored times later than now, in microseconds. Later ones come from a clock that was ahead. Calls
#: that overtake each other on their way into the database, and replicas whose clocks differ, stay below it.
SKEW = 1 * MINUTE


def system_clock() -> int:
    """Return the machine's time, in microseconds since the epoch."""
    return time.time_ns() // 1000


def monotonic_us() -> int:
    """Return a time in microseconds that is never set back; on Linux it includes the machine's sleep."""
    return time.clock_gettime_ns(_UNSTEPPED) // 1000


def next_midnight(at: int, zone: tzinfo) -> int:
    """Return the end of a time's day in a zone, in microseconds."""
    following = utc(at).astimezone(zone).date() + timedelta(days=1)
    return (datetime.combine(following, time_of_day(), zone) - _EPOCH) // timedelta(microseconds=1)


def utc(at: int) -> datetime:
    """Return a time in microseconds as a `datetime` in UTC, clamped to the years 1 to 9999."""
    return _EPOCH + timedelta(microseconds=min(max(at, _FIRST), _LAST))


def real_time(at: int, now: int) -> int:
    """Return a stored event time, or the moment before ``now`` if it is in the future (microseconds)."""
    return at if at <= now + SKEW else now - 1
