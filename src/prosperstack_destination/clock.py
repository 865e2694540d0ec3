"""Time as this service keeps it: whole microseconds since the Unix epoch, in UTC."""

import time
from collections.abc import Callable

#: Gives the present, in microseconds since the epoch. Handed in, so that tests own the time.
Clock = Callable[[], int]

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR


def system_clock() -> int:
    """The machine's clock."""
    return time.time_ns() // 1000
