"""Transactions on rollups: counts per minute and per hour, for charts.

Minutes and hours without activity have no row. Minutes are kept for a day, hours for a quarter of a year.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import accumulate, zip_longest
from operator import attrgetter
from typing import Any, Final

from sqlalchemy import Connection, Row, bindparam, delete, select, update

from prosperstack_destination.clock import DAY, HOUR, SECOND
from prosperstack_destination.store import json_codec
from prosperstack_destination.store.statements import insert_if_missing
from prosperstack_destination.store.tables import tallies

#: Upper bounds of the histogram of times from accepted to delivered, in seconds; one more bucket has longer times.
DELIVERY_TIME_BOUNDS: Final = tuple(
    round(0.1 * 1.5**step, 3) if 0.1 * 1.5**step < 10 else float(round(0.1 * 1.5**step)) for step in range(36)
)
#: Account ID of calls whose key opens no account.
NO_ACCOUNT: Final = ""


class Bucket(IntEnum):
    """Length of a rollup, in seconds."""

    MINUTE = 60
    HOUR = 3600

    @property
    def microseconds(self) -> int:
        """Length of a rollup, in microseconds."""
        return self * SECOND


#: Retention of rollups, in microseconds: a day of charts and a spare hour for minutes, 90 days for hours.
RETENTION: Final[Mapping[Bucket, int]] = {Bucket.MINUTE: 1 * DAY + 1 * HOUR, Bucket.HOUR: 90 * DAY}


@dataclass(slots=True)
class Rollup:
    """Counts of a minute or an hour; also an increment of them."""

    #: Start of the time span, in microseconds.
    at: int = 0
    accepted: int = 0
    refused: int = 0
    delivered: int = 0
    unchanged: int = 0
    unmatched: int = 0
    properties: int = 0
    requests: int = 0
    failed: int = 0
    #: Calls that the account's mapping left out, and those without the consent that it requires.
    filtered: int = 0
    no_consent: int = 0
    #: Histogram of deliveries by `DELIVERY_TIME_BOUNDS`; trailing zeros may be missing.
    freshness: list[int] = field(default_factory=list)
    #: Largest observed number of waiting profiles.
    backlog: int = 0

    @property
    def settled(self) -> int:
        """Number of profiles that were settled."""
        return self.delivered + self.unchanged + self.unmatched

    @property
    def fresh_p50(self) -> float | None:
        """Median time from accepted to delivered, in seconds; None: no deliveries."""
        return percentile(self.freshness, 0.5)

    @property
    def fresh_p95(self) -> float | None:
        """Time within which 95% of the deliveries happened, in seconds; None: no deliveries."""
        return percentile(self.freshness, 0.95)

    def record_delivery(self, seconds: float) -> None:
        """Count a delivery with its time from accepted to delivered, in seconds."""
        place = next(
            (place for place, bound in enumerate(DELIVERY_TIME_BOUNDS) if seconds <= bound),
            len(DELIVERY_TIME_BOUNDS),
        )
        self.freshness += [0] * (place + 1 - len(self.freshness))
        self.freshness[place] += 1

    def __add__(self, other: "Rollup") -> "Rollup":
        """Return the sum, which starts at the earlier time."""
        return total([self, other])


#: Fields with counts, in order.
COUNT_FIELDS: Final = (
    "accepted",
    "refused",
    "delivered",
    "unchanged",
    "unmatched",
    "properties",
    "requests",
    "failed",
    "filtered",
    "no_consent",
)

_COLUMNS: Final = (
    tallies.c.at,
    *(tallies.c[name] for name in COUNT_FIELDS),
    tallies.c.freshness,
    tallies.c.backlog,
)
_FRESHNESS: Final = 1 + len(COUNT_FIELDS)
_SINCE: Final = (
    select(*_COLUMNS)
    .where(
        tallies.c.account_id == bindparam("account"),
        tallies.c.span == bindparam("span"),
        tallies.c.at >= bindparam("since"),
    )
    .order_by(tallies.c.at)
)


def total(rows: Sequence[Rollup]) -> Rollup:
    """Return the sum of rollups, which starts at the earliest time. A day has more than a thousand rows."""
    return Rollup(
        min((row.at for row in rows), default=0),
        **{name: sum(map(attrgetter(name), rows)) for name in COUNT_FIELDS},
        freshness=list(map(sum, zip_longest(*(row.freshness for row in rows if row.freshness), fillvalue=0))),
        backlog=max((row.backlog for row in rows), default=0),
    )


def percentile(freshness: Sequence[int], fraction: float) -> float | None:
    """Return the time within which a part (0 to 1) of the deliveries happened, in seconds; None: no deliveries.

    Interpolates linearly between two bounds.
    """
    total = sum(freshness)
    if not total:
        return None
    wanted = fraction * total
    for place, reached in enumerate(accumulate(freshness)):
        if reached >= wanted and freshness[place]:
            low = DELIVERY_TIME_BOUNDS[place - 1] if place else 0.0
            high = DELIVERY_TIME_BOUNDS[min(place, len(DELIVERY_TIME_BOUNDS) - 1)]
            interpolated = low + (high - low) * (wanted - (reached - freshness[place])) / freshness[place]
            return min(interpolated, high)  # rounding may exceed the bound
    raise AssertionError("the last one reaches all of them")


def add(connection: Connection, new: Mapping[str, Rollup], now: int) -> None:
    """Add increments, by account, to the rollups of the present minute and hour."""
    for account_id, tally in sorted(new.items()):
        for span in Bucket:
            _add(connection, account_id, span, now - now % span.microseconds, tally)


def record_backlogs(connection: Connection, waiting: Mapping[str, int], now: int) -> None:
    """Record the present number of waiting profiles, by account."""
    add(connection, {account_id: Rollup(now, backlog=count) for account_id, count in waiting.items()}, now)


def of_account(connection: Connection, account_id: str, bucket: Bucket, since: int) -> list[Rollup]:
    """Return an account's rollups since a time (microseconds), the oldest first. Spans without activity are
    missing.
    """
    rows = connection.execute(_SINCE, {"account": account_id, "span": bucket, "since": since})
    return [_rollup(row) for row in rows]


def expire(connection: Connection, now: int) -> int:
    """Delete rollups beyond their retention. Return the number of rows."""
    deleted = 0
    for span, kept in RETENTION.items():
        old = (tallies.c.span == span) & (tallies.c.at < now - kept)
        deleted += connection.execute(delete(tallies).where(old)).rowcount
    return deleted


def _add(connection: Connection, account_id: str, span: Bucket, at: int, tally: Rollup) -> None:
    key = {"account_id": account_id, "span": int(span), "at": at}
    insert_if_missing(connection, tallies, key)
    same = (tallies.c.account_id == account_id) & (tallies.c.span == span) & (tallies.c.at == at)
    together = _rollup(connection.execute(select(*_COLUMNS).where(same).with_for_update()).one()) + tally
    values = {name: getattr(together, name) for name in COUNT_FIELDS}
    values |= {"freshness": json_codec.dump(together.freshness), "backlog": together.backlog}
    connection.execute(update(tallies).where(same).values(values))


def _rollup(row: Row[Any]) -> Rollup:
    """Convert a row of the `_COLUMNS`, by position, since a page reads more than a thousand rows."""
    values: list[Any] = list(row)
    values[_FRESHNESS] = json_codec.load(values[_FRESHNESS])
    return Rollup(*values)
