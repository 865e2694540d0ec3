"""How much happened in each part of the last hour, day or week: what charts show."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Final

from sqlalchemy import Connection

from prosperstack_destination.clock import DAY, HOUR, MINUTE
from prosperstack_destination.store import rollups
from prosperstack_destination.store.rollups import Bucket, Rollup


class Period(StrEnum):
    """How far back."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"


#: Of each period: how long it is, how long its parts are (both in microseconds), and which rows tell of it.
PARTS: Final[dict[Period, tuple[int, int, Bucket]]] = {
    Period.HOUR: (HOUR, MINUTE, Bucket.MINUTE),
    Period.DAY: (DAY, 15 * MINUTE, Bucket.MINUTE),
    Period.WEEK: (7 * DAY, 2 * HOUR, Bucket.HOUR),
}


def history(
    connection: Connection, account_id: str, period: Period, now: int, minutes: Sequence[Rollup] | None = None
) -> list[Rollup]:
    """What happened in each part of a period up to now, the oldest first; in a quiet one, nothing.

    ``minutes``: the last day's, where they were read before.
    """
    length, part, span = PARTS[period]
    last = now - now % part
    first = last - length + part
    parts: dict[int, list[Rollup]] = {at: [] for at in range(first, last + part, part)}
    if minutes is None or span is not Bucket.MINUTE:
        minutes = rollups.of_account(connection, account_id, span, first)
    for row in minutes:
        parts.get(row.at - row.at % part, []).append(row)
    return [rollups.total([Rollup(at), *rows]) for at, rows in parts.items()]
