"""Queries of waiting work: profiles that wait for a request, and accounts that need a worker.

Each query of profiles is an index lookup at an end, or a bounded count: none takes longer with a million waiting
profiles than with a thousand.
"""

from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    bindparam,
    func,
    literal_column,
    not_,
    or_,
    select,
    union_all,
)

from prosperstack_destination.clock import DAY, MINUTE
from prosperstack_destination.store.accounts import AccountStatus
from prosperstack_destination.store.models import Lane, Status
from prosperstack_destination.store.rollups import Bucket
from prosperstack_destination.store.statements import OneOf, PreparedStatement
from prosperstack_destination.store.tables import accounts, clearings, directories, profiles, tallies

#: Upper bound of all counts.
MAX_COUNTED: Final = 10_000
#: Maximum age of a catalog, in microseconds: a new property in ProsperStack is filled within this time.
CATALOG_MAX_AGE: Final = 15 * MINUTE
#: Maximum age of an idle account's catalog, in microseconds, so that thousands of idle accounts cost little.
IDLE_CATALOG_MAX_AGE: Final = 1 * DAY
#: Time without a call and without a due profile after which an account is idle, in microseconds.
IDLE_AFTER: Final = 1 * DAY
#: Maximum number of accounts that are worked at only to refresh their catalogs and listings.
MAX_REFRESHES: Final = 20


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

    #: True if an erasure in ProsperStack is due.
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


@dataclass(frozen=True, slots=True)
class WaitingProfiles:
    """The first profiles at each end of an account's queues, without those in flight."""

    #: Up to ``limit`` profiles by the name of the end, the first one to go first.
    ends: Mapping[str, Sequence[QueueItem]]
    limit: int
    erasure_due: bool

    @property
    def has_due(self) -> bool:
        """True if a profile has to be evaluated."""
        return _DUE in self.ends

    def is_spent(self, taken: Set[int]) -> bool:
        """Return whether an end may have more profiles than were read, all of which are ``taken``."""
        return any(
            len(items) >= self.limit and all(item.profile_id in taken for item in items)
            for items in self.ends.values()
        )

    def snapshot(self, counts: QueueSizes, taken: Set[int] = frozenset()) -> QueueSnapshot:
        """Return the waiting work without ``taken`` profiles. ``counts`` may be slightly outdated."""
        ends = {
            end: first
            for end, items in self.ends.items()
            if (first := next((item for item in items if item.profile_id not in taken), None)) is not None
        }

        def queue(lane: Lane, size: int) -> Queue:
            oldest = ends.get(f"ready {lane:d} oldest")
            return Queue() if oldest is None else Queue(ends[f"ready {lane:d} newest"], oldest, max(size, 1))

        unknown = [ends.get(f"unknown {lane:d} {_UNKNOWN_END[lane]}") for lane in Lane]
        live = max(counts.unknown_live, sum(each is not None for each in unknown[:2]))
        return QueueSnapshot(
            erasure_due=self.erasure_due,
            cancelling=queue(Lane.CANCELLING, 1),
            live=queue(Lane.LIVE, counts.live),
            bulk=queue(Lane.BULK, counts.bulk),
            unknown=max(counts.unknown, sum(each is not None for each in unknown)) if any(unknown) else 0,
            unknown_live=live if any(unknown[:2]) else 0,
            unknown_cancelling=unknown[Lane.CANCELLING],
            newest_unknown=unknown[Lane.LIVE],
            oldest_unknown=unknown[Lane.BULK] or unknown[Lane.LIVE],
        )


def waiting(
    connection: Connection,
    account_id: str,
    now: int,
    in_flight: Collection[int],
    *,
    limit: int = 1,
    as_of: int | None = None,
) -> WaitingProfiles:
    """Return the waiting work without the profiles in ``in_flight``: up to ``limit`` profiles of each end.

    ``as_of`` is the time of the latest complete listing: see `profiles.due`.
    """
    given = {"account": account_id, "now": now, "as_of": -1 if as_of is None else as_of, "most": limit}
    ends: dict[str, list[QueueItem]] = {}
    for end, profile_id, lane, pending_since, due_at in ENDS.rows(
        connection, {**given, "in_flight": sorted(in_flight)}
    ):
        ends.setdefault(end, []).append(QueueItem(profile_id, Lane(lane), pending_since or due_at, due_at))
    erasure_due = bool(_REMOTE_ERASURES.rows(connection, {"account": account_id, "now": now}))
    return WaitingProfiles(ends, limit, erasure_due)


def recent(connection: Connection, account_id: str, lane: Lane, since: int) -> RecentChanges:
    """Count recent changes of a lane's profiles that wait for an update."""
    given = {"account": account_id, "lane": lane, "since": since}
    return RecentChanges(*connection.execute(_RECENT, given).one())


def _end(one_of: OneOf, status: Status, lane: Lane, end: str, until: str = "now") -> Select[Any]:
    """Select the profiles at one end of a queue, or one profile that has to be evaluated."""
    due_at = profiles.c.due_at
    first = (
        select(profiles.c.id, profiles.c.lane, profiles.c.pending_since, due_at)
        .where(
            profiles.c.account_id == bindparam("account"),
            profiles.c.status == literal_column(f"'{status}'"),
            profiles.c.lane == literal_column(f"{lane:d}"),
            due_at <= bindparam(until),
            not_(one_of(profiles.c.id, "in_flight")),
        )
        .order_by(due_at.desc() if end == "newest" else due_at)
        .limit(literal_column("1") if end == _DUE else bindparam("most"))
        .subquery()
    )
    return select(literal_column(f"'{end if end == _DUE else f'{status} {lane:d} {end}'}'").label("end"), first)


#: Name of the end with a profile that has to be evaluated.
_DUE: Final = "due"
#: Ends of the lookup queues: live profiles are looked up newest first, the others oldest first.
_UNKNOWN_END: Final = {Lane.CANCELLING: "newest", Lane.LIVE: "newest", Lane.BULK: "oldest"}
#: All ends in one statement: a round trip for each of them would take most of a request's time.
ENDS: Final = PreparedStatement(
    lambda one_of: union_all(
        *(_end(one_of, Status.READY, lane, end) for lane in Lane for end in ("newest", "oldest")),
        *(_end(one_of, Status.UNKNOWN, lane, end) for lane, end in _UNKNOWN_END.items()),
        *(
            _end(one_of, status, lane, _DUE, until)
            for status, until in ((Status.PENDING, "now"), (Status.UNKNOWN, "as_of"), (Status.UNMATCHED, "now"))
            for lane in Lane
        ),
    )
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
_REMOTE_ERASURES: Final = PreparedStatement(
    lambda _: (
        select(clearings.c.subscriber_id)
        .where(clearings.c.account_id == bindparam("account"), clearings.c.due_at <= bindparam("now"))
        .limit(literal_column("1"))
    )
)


def accounts_with_work(connection: Connection, now: int) -> list[str]:
    """Return the IDs of accounts that need work and are not paused.

    An account needs work if a profile or an erasure is due, its catalog is outdated, a listing or sweep is due, or
    it is to be retried after a failure. Of accounts that only need a refresh, `MAX_REFRESHES` random ones are
    returned: after a long stop all of them do, and calls must not wait for that.

    Costs a few index lookups for each account, independent of the number of profiles.
    """
    to_clear = (
        select(clearings.c.subscriber_id)
        .where(clearings.c.account_id == accounts.c.id, clearings.c.due_at <= now)
        .exists()
    )
    to_refresh = (
        select(directories.c.account_id)
        .where(directories.c.account_id == accounts.c.id, _is_listing_due(now))
        .exists()
    )
    aged = and_(accounts.c.catalog_at <= now - CATALOG_MAX_AGE, _was_called_recently(now))
    stale = or_(accounts.c.catalog_at <= now - IDLE_CATALOG_MAX_AGE, aged)
    failed = accounts.c.status != AccountStatus.ACTIVE
    left_alone = and_(accounts.c.status_until.is_not(None), accounts.c.status_until > now)
    has_work = or_(_has_due_profile(now), to_clear, accounts.c.catalog_at.is_(None), failed)
    found = select(accounts.c.id).where(not_(left_alone))
    upkeep = found.where(or_(to_refresh, stale)).order_by(func.random()).limit(MAX_REFRESHES)
    return list({*connection.scalars(found.where(has_work)), *connection.scalars(upkeep)})


def is_account_idle(connection: Connection, account_id: str, now: int) -> bool:
    """Return whether an account got no call for a day and has no due profile."""
    busy = select(accounts.c.id).where(
        accounts.c.id == account_id, or_(_has_due_profile(now), _was_called_recently(now))
    )
    return connection.execute(busy).one_or_none() is None


def _has_due_profile(now: int) -> ColumnElement[bool]:
    return (
        select(profiles.c.id)
        .where(
            profiles.c.account_id == accounts.c.id,
            profiles.c.status.in_([Status.PENDING, Status.READY, Status.UNKNOWN, Status.UNMATCHED]),
            profiles.c.lane.in_(list(Lane)),
            profiles.c.due_at <= now,
        )
        .exists()
    )


def _was_called_recently(now: int) -> ColumnElement[bool]:
    return (
        select(tallies.c.at)
        .where(
            tallies.c.account_id == accounts.c.id,
            tallies.c.span == Bucket.HOUR,
            tallies.c.at > now - IDLE_AFTER,
            tallies.c.accepted > 0,
        )
        .exists()
    )


def _is_listing_due(now: int) -> ColumnElement[bool]:
    return or_(directories.c.refresh_at <= now, directories.c.sweep_at <= now)
