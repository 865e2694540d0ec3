"""Reading the times that Segment's libraries write."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
#: Go's ``Time.String()``, as in ``2020-05-09 23:54:49.209808489 +0000 UTC m=+70366.298768264``.
_GO: Final = re.compile(r"(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d(?:\.\d+)?) ([+-]\d{4})(?: [A-Z0-9+-]+)?(?: m=\S+)?")
#: From here on a Unix time is in milliseconds.
_MILLISECONDS_FROM: Final = 100_000_000_000
#: The year 10000 in Unix seconds: no time is as late as that.
_LATEST: Final = 253_402_300_800


def parse_time(value: str | float | None) -> int | None:
    """A time in microseconds since the epoch; None where it says nothing that can be read as one.

    ISO 8601 (without an offset: UTC), Go's form, and Unix time in seconds or milliseconds.
    """
    if value is None:
        return None
    if not isinstance(value, str):
        if not abs(value) < _LATEST * 1000:
            return None
        seconds = value / 1000 if abs(value) >= _MILLISECONDS_FROM else value
        return int(seconds * 1_000_000) if abs(seconds) < _LATEST else None
    moment = _moment(value.strip())
    if moment is None:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // _MICROSECOND


def _moment(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)  # what nearly everybody writes
    except ValueError:
        go = _GO.fullmatch(text)
    return None if go is None else _moment(f"{go[1]}T{go[2]}{go[3]}")
