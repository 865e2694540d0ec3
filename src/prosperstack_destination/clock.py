"""Time as this service keeps it: whole microseconds since the Unix epoch, in UTC."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

#: Gives the present, in microseconds since the epoch. Handed in, so that tests own the time.
Clock = Callable[[], int]

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)
_LAST = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)


def system_clock() -> int:
    """The machine's clock."""
    return time.time_ns() // 1000


def utc(at: int) -> datetime:
    """Return a time in microseconds in UTC; outside of the years 1 to 9999 it is their first or last moment."""
    return _EPOCH + timedelta(microseconds=min(max(at, _FIRST), _LAST))
