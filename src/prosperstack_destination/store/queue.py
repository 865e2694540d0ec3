"""Queries of the profiles that wait for a request.

Each is an index lookup at an end, or a bounded count: none takes longer with a million waiting profiles than with
a thousand.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Select, bindparam, func, literal_column, select, union_all

from prosperstack_destination.store.models import Lane, Status
from prosperstack_destination.store.tables import clearings, profiles

#: Upper bound of all counts.
MAX_COUNTED: Final = 10_000


@dataclass(frozen=True, slots=True)
class QueueItem:
    """Profile that waits for a request."""

    profile_id: int
    lane: Lane
    #: Arrival time of its oldest pending change, in microseconds.
    pending_since: int
    #: Arrival time of its newest change, or the end of its backoff after a failure, in microseconds.
    due_at: int


@dataclass(frozen=True, slots=True)
class Queue:
    """Profiles of one lane that wait for an update."""

    #: Profile with the latest change, and the one without a change for the longest time.
    newest: QueueItem | None = None
    oldest: QueueItem | None = None
    #: Number of profiles, up to `MAX_COUNTED`.
    size: int = 0


@dataclass(frozen=True, slots=True)
class RecentChanges:
    """Recent changes of a lane's profiles that wait for an update."""

    #: Number of changed profiles, up to `MAX_COUNTED`.
    changes: int = 0
    #: Number of those that were waiting already when they changed.
    repeats: int = 0


@dataclass(frozen=True, slots=True)
class QueueSnapshot:
    """An account's waiting work, without the requests in flight."""

    #: Whether an erasure in ProsperStack is due.
    erasure_due: bool = False
    cancelling: Queue = Queue()
    live: Queue = Queue()
    bulk: Queue = Queue()
    #: Number of profiles that need a lookup, in all and in the live lanes, up to `MAX_COUNTED`.
    unknown: int = 0
    unknown_live: int = 0
    #: Of these: the newest in a cancel flow, the newest live one, and the oldest one.
    unknown_cancelling: QueueItem | None = None
    newest_unknown: QueueItem | None = None
    oldest_unknown: QueueItem | None = None


@dataclass(frozen=True, slots=True)
class QueueSizes:
    """Sizes of an account's queues. They are slower to query than the ends, and may be reused for a while."""

    live: int = 0
    bulk: int = 0
    unknown: int = 0
    unknown_live: int = 0


def count(connection: Connection, account_id: str, now: int) -> QueueSizes:
    """Count waiting profiles, each count up to `MAX_COUNTED`."""

    def bounded(status: Status, *lanes: Lane) -> int:
        given = {"account": account_id, "status": status, "lanes": lanes, "now": now}
        return connection.execute(_COUNT, given).scalar_one()

    live = bounded(Status.UNKNOWN, Lane.CANCELLING, Lane.LIVE)
    return QueueSizes(
        live=bounded(Status.READY, Lane.LIVE),
        bulk=bounded(Status.READY, Lane.BULK),
        unknown=min(live + bounded(Status.UNKNOWN, Lane.BULK), MAX_COUNTED),
        unknown_live=live,
    )


def snapshot(
    connection: Connection, account_id: str, now: int, in_flight: Collection[int], counts: QueueSizes
) -> QueueSnapshot:
    """Return the waiting work without the profiles in ``in_flight``.

    ``counts`` may be slightly outdated; the ends are current.
    """
    given = {"account": account_id, "now": now, "under_way": sorted(in_flight)}
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
        erasure_due=connection.execute(_REMOTE_ERASURES, {"account": account_id, "now": now}).first() is not None,
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
    """Count recent changes of a lane's profiles that wait for an update."""
    given = {"account": account_id, "lane": lane, "since": since}
    return RecentChanges(*connection.execute(_RECENT, given).one())


def _end(status: Status, lane: Lane, end: str) -> Select[Any]:
    """Select the profile at one end of a queue."""
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


#: Ends of the lookup queues: live profiles are looked up newest first, the others oldest first.
_UNKNOWN_END: Final = {Lane.CANCELLING: "newest", Lane.LIVE: "newest", Lane.BULK: "oldest"}
#: All ends in one statement, built once: SQLAlchemy's overhead for eight of them would exceed SQLite's work.
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
    .limit(MAX_COUNTED)
    .subquery()
)
_RECENTLY_CHANGED: Final = (
    select(profiles.c.changed_at, profiles.c.pending_since)
    .where(
        profiles.c.account_id == bindparam("account"),
        profiles.c.status == Status.READY,
        profiles.c.lane == bindparam("lane"),
        profiles.c.due_at > bindparam("since"),
    )
    .limit(MAX_COUNTED)
    .subquery()
)
_RECENT: Final = select(
    func.count(), func.count().filter(_RECENTLY_CHANGED.c.changed_at > _RECENTLY_CHANGED.c.pending_since)
).select_from(_RECENTLY_CHANGED)
_REMOTE_ERASURES: Final = (
    select(clearings.c.subscriber_id)
    .where(clearings.c.account_id == bindparam("account"), clearings.c.due_at <= bindparam("now"))
    .limit(1)
)
