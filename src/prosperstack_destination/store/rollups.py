"""Units of work on how much happened in each minute and each hour: what charts are made of.

A row is there only where something happened. Minutes are kept for a day, hours for a quarter of a year.
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
from prosperstack_destination.store.dialects import insert_unless_there
from prosperstack_destination.store.tables import tallies

#: Upper bounds of the times from accept to delivered that are told apart, in seconds; one more is for longer ones.
FRESHNESS: Final = tuple(
    round(0.1 * 1.5**step, 3) if 0.1 * 1.5**step < 10 else float(round(0.1 * 1.5**step)) for step in range(36)
)
#: Calls whose key opens no account are counted under this.
NO_ACCOUNT: Final = ""


class Bucket(IntEnum):
    """How long a row is, in seconds."""

    MINUTE = 60
    HOUR = 3600

    @property
    def microseconds(self) -> int:
        """The same, as times are kept."""
        return self * SECOND


#: How long rows are kept, in microseconds: the day that charts show, and an hour to spare; and the weeks.
KEPT: Final[Mapping[Bucket, int]] = {Bucket.MINUTE: 1 * DAY + 1 * HOUR, Bucket.HOUR: 90 * DAY}


@dataclass(slots=True)
class Rollup:
    """How much happened in a span of time; what there is to add to it, too."""

    #: When it began, in microseconds.
    at: int = 0
    accepted: int = 0
    refused: int = 0
    delivered: int = 0
    unchanged: int = 0
    unmatched: int = 0
    properties: int = 0
    requests: int = 0
    failed: int = 0
    #: Deliveries by `FRESHNESS`; shorter where the rest is zero.
    freshness: list[int] = field(default_factory=list)
    #: The most profiles that were seen to wait.
    backlog: int = 0

    @property
    def settled(self) -> int:
        """Profiles with nothing left to do."""
        return self.delivered + self.unchanged + self.unmatched

    def took(self, seconds: float) -> None:
        """Count a delivery that came so long after its call was accepted."""
        place = next((place for place, bound in enumerate(FRESHNESS) if seconds <= bound), len(FRESHNESS))
        self.freshness += [0] * (place + 1 - len(self.freshness))
        self.freshness[place] += 1

    def __add__(self, other: "Rollup") -> "Rollup":
        """Both together, from the earlier one on."""
        return total([self, other])


#: Its counts, in the order of its fields.
COUNTED: Final = ("accepted", "refused", "delivered", "unchanged", "unmatched", "properties", "requests", "failed")

_COLUMNS: Final = (tallies.c.at, *(tallies.c[name] for name in COUNTED), tallies.c.freshness, tallies.c.backlog)
_FRESHNESS: Final = 1 + len(COUNTED)
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
    """What happened in all of these together, from the earliest on. A day has more than a thousand."""
    return Rollup(
        min((row.at for row in rows), default=0),
        **{name: sum(map(attrgetter(name), rows)) for name in COUNTED},
        freshness=list(map(sum, zip_longest(*(row.freshness for row in rows if row.freshness), fillvalue=0))),
        backlog=max((row.backlog for row in rows), default=0),
    )


def percentile(freshness: Sequence[int], part: float) -> float | None:
    """Within how many seconds so large a part was delivered, between two bounds by the rule of three; None: nothing
    was delivered.
    """
    total = sum(freshness)
    if not total:
        return None
    wanted = part * total
    for place, reached in enumerate(accumulate(freshness)):
        if reached >= wanted and freshness[place]:
            low = FRESHNESS[place - 1] if place else 0.0
            high = FRESHNESS[min(place, len(FRESHNESS) - 1)]
            reckoned = low + (high - low) * (wanted - (reached - freshness[place])) / freshness[place]
            return min(reckoned, high)  # which rounding may pass
    raise AssertionError("the last one reaches all of them")


def add(connection: Connection, new: Mapping[str, Rollup], now: int) -> None:
    """Add what happened just now, by account, to its minute and to its hour."""
    for account_id, tally in sorted(new.items()):
        for span in Bucket:
            _add(connection, account_id, span, now - now % span.microseconds, tally)


def note_backlogs(connection: Connection, waiting: Mapping[str, int], now: int) -> None:
    """Note how many profiles of accounts are seen to wait just now."""
    add(connection, {account_id: Rollup(now, backlog=count) for account_id, count in waiting.items()}, now)


def of_account(connection: Connection, account_id: str, span: Bucket, since: int) -> list[Rollup]:
    """What happened in an account from a time on (microseconds), the oldest first; quiet spans have no row."""
    rows = connection.execute(_SINCE, {"account": account_id, "span": span, "since": since})
    return [_tally(row) for row in rows]


def expire(connection: Connection, now: int) -> int:
    """Delete what is older than it is kept; how many rows."""
    deleted = 0
    for span, kept in KEPT.items():
        old = (tallies.c.span == span) & (tallies.c.at < now - kept)
        deleted += connection.execute(delete(tallies).where(old)).rowcount
    return deleted


def _add(connection: Connection, account_id: str, span: Bucket, at: int, tally: Rollup) -> None:
    key = {"account_id": account_id, "span": int(span), "at": at}
    insert_unless_there(connection, tallies, key)
    same = (tallies.c.account_id == account_id) & (tallies.c.span == span) & (tallies.c.at == at)
    together = _tally(connection.execute(select(*_COLUMNS).where(same).with_for_update()).one()) + tally
    values = {name: getattr(together, name) for name in COUNTED}
    values |= {"freshness": json_codec.dump(together.freshness), "backlog": together.backlog}
    connection.execute(update(tallies).where(same).values(values))


def _tally(row: Row[Any]) -> Rollup:
    """Of the `_COLUMNS`, by their places: a page reads more than a thousand."""
    values: list[Any] = list(row)
    values[_FRESHNESS] = json_codec.load(values[_FRESHNESS])
    return Rollup(*values)
