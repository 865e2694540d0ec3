"""Units of work that say which profiles of an account wait for a request.

Each is a look into an index at its ends, or a count that stops at a bound: none takes longer with a million
profiles waiting than with a thousand.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Select, bindparam, func, literal_column, select, union_all

from prosperstack_destination.store.models import Lane, Status
from prosperstack_destination.store.tables import clearings, profiles

#: Counts stop here.
COUNTED: Final = 10_000


@dataclass(frozen=True, slots=True)
class QueueItem:
    """A profile that waits for a request."""

    profile_id: int
    lane: Lane
    #: Since when there is something to deliver, in microseconds.
    pending_since: int
    #: When the newest change came in, or until when it is left alone after a failure, in microseconds.
    due_at: int


@dataclass(frozen=True, slots=True)
class Queue:
    """The profiles of one lane that wait to be sent."""

    #: The one that changed last, and the one that has been quiet for longest.
    newest: QueueItem | None = None
    oldest: QueueItem | None = None
    #: How many there are, up to `MAX_COUNTED`.
    size: int = 0


@dataclass(frozen=True, slots=True)
class RecentChanges:
    """What changed lately in a lane, of what waits to be sent."""

    #: How many profiles, up to `MAX_COUNTED`.
    changes: int = 0
    #: How many of them had been waiting already when they changed again.
    repeats: int = 0


@dataclass(frozen=True, slots=True)
class QueueSnapshot:
    """What an account has to do, apart from the requests that are under way."""

    #: A subscriber is to be cleared of what was written for somebody who was erased.
    clearing: bool = False
    cancelling: Queue = Queue()
    live: Queue = Queue()
    bulk: Queue = Queue()
    #: How many have to be learned about, in all and of them live ones, up to `MAX_COUNTED`.
    unknown: int = 0
    unknown_live: int = 0
    #: Of them, who is about to cancel; the newest of the live ones; the oldest of all others.
    unknown_cancelling: QueueItem | None = None
    newest_unknown: QueueItem | None = None
    oldest_unknown: QueueItem | None = None


@dataclass(frozen=True, slots=True)
class QueueSizes:
    """The sizes of an account's queues: slower to tell than their ends, and good for a while."""

    live: int = 0
    bulk: int = 0
    unknown: int = 0
    unknown_live: int = 0


def count(connection: Connection, account_id: str, now: int) -> QueueSizes:
    """How many profiles wait, each count up to `MAX_COUNTED`."""

    def bounded(status: Status, *lanes: Lane) -> int:
        given = {"account": account_id, "status": status, "lanes": lanes, "now": now}
        return connection.execute(_COUNT, given).scalar_one()

    live = bounded(Status.UNKNOWN, Lane.CANCELLING, Lane.LIVE)
    return QueueSizes(
        live=bounded(Status.READY, Lane.LIVE),
        bulk=bounded(Status.READY, Lane.BULK),
        unknown=min(live + bounded(Status.UNKNOWN, Lane.BULK), COUNTED),
        unknown_live=live,
    )


def snapshot(
    connection: Connection, account_id: str, now: int, under_way: Collection[int], counts: QueueSizes
) -> QueueSnapshot:
    """What waits now, but for the profiles under way. ``counts`` may be a little old: ends are looked up anew."""
    given = {"account": account_id, "now": now, "under_way": sorted(under_way)}
    ends = {
        row.end: QueueItem(row.id, Lane(row.lane), row.pending_since or row.due_at, row.due_at)
        for row in connection.execute(ENDS, given)
    }

    def queue(lane: Lane, size: int) -> Queue:
        oldest = ends.get(f"ready {lane:d} oldest")
        return Queue() if oldest is None else Queue(ends[f"ready {lane:d} newest"], oldest, max(size, 1))

    unknown = [ends.get(f"unknown {lane:d} {_UNKNOWN_END[lane]}") for lane in Lane]
    live = max(counts.unknown_live, sum(each is not None for each in unknown[:2]))
    return QueueSnapshot(
        clearing=connection.execute(_TO_CLEAR, {"account": account_id, "now": now}).first() is not None,
        cancelling=queue(Lane.CANCELLING, 1),
        live=queue(Lane.LIVE, counts.live),
        bulk=queue(Lane.BULK, counts.bulk),
        unknown=max(counts.unknown, sum(each is not None for each in unknown)) if any(unknown) else 0,
        unknown_live=live if any(unknown[:2]) else 0,
        unknown_cancelling=unknown[Lane.CANCELLING],
        newest_unknown=unknown[Lane.LIVE],
        oldest_unknown=unknown[Lane.BULK] or unknown[Lane.LIVE],
    )


def recent(connection: Connection, account_id: str, lane: Lane, since: int) -> RecentChanges:
    """What changed in a lane since a time, of what waits to be sent."""
    given = {"account": account_id, "lane": lane, "since": since}
    return RecentChanges(*connection.execute(_RECENT, given).one())


def _end(status: Status, lane: Lane, end: str) -> Select[Any]:
    """The profile at one end of a queue."""
    due_at = profiles.c.due_at
    one = (
        select(profiles.c.id, profiles.c.lane, profiles.c.pending_since, due_at)
        .where(
            profiles.c.account_id == bindparam("account"),
            profiles.c.status == literal_column(f"'{status}'"),
            profiles.c.lane == literal_column(f"{lane:d}"),
            due_at <= bindparam("now"),
            profiles.c.id.not_in(bindparam("under_way", expanding=True)),
        )
        .order_by(due_at.desc() if end == "newest" else due_at)
        .limit(literal_column("1"))
        .subquery()
    )
    return select(literal_column(f"'{status} {lane:d} {end}'").label("end"), one)


#: Of people to be learned about, the newest of the live ones, who are looked up, and the oldest of the others.
_UNKNOWN_END: Final = {Lane.CANCELLING: "newest", Lane.LIVE: "newest", Lane.BULK: "oldest"}
#: All ends in one statement, built once: SQLAlchemy's work for eight of them would cost more than SQLite's.
ENDS: Final = union_all(
    *(_end(Status.READY, lane, end) for lane in Lane for end in ("newest", "oldest")),
    *(_end(Status.UNKNOWN, lane, end) for lane, end in _UNKNOWN_END.items()),
)
_COUNT: Final = select(func.count()).select_from(
    select(profiles.c.id)
    .where(
        profiles.c.account_id == bindparam("account"),
        profiles.c.status == bindparam("status"),
        profiles.c.due_at <= bindparam("now"),
        profiles.c.lane.in_(bindparam("lanes", expanding=True)),
    )
    .limit(COUNTED)
    .subquery()
)
_CHANGED: Final = (
    select(profiles.c.changed_at, profiles.c.pending_since)
    .where(
        profiles.c.account_id == bindparam("account"),
        profiles.c.status == Status.READY,
        profiles.c.lane == bindparam("lane"),
        profiles.c.due_at > bindparam("since"),
    )
    .limit(COUNTED)
    .subquery()
)
_RECENT: Final = select(
    func.count(), func.count().filter(_CHANGED.c.changed_at > _CHANGED.c.pending_since)
).select_from(_CHANGED)
_TO_CLEAR: Final = (
    select(clearings.c.subscriber_id)
    .where(clearings.c.account_id == bindparam("account"), clearings.c.due_at <= bindparam("now"))
    .limit(1)
)
