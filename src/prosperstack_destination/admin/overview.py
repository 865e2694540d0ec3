"""How accounts stand: what waits, when it will be done, how fresh ProsperStack is, what was spent and saved."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sqlalchemy import Connection

from prosperstack_destination.admin.eta import LOOK_BACK, Eta, estimate
from prosperstack_destination.clock import DAY, HOUR, MINUTE
from prosperstack_destination.reconcile.rate_limiter import effective_rate
from prosperstack_destination.store import (
    account_stats,
    listing_state,
    mappings,
    problems,
    rate_limits,
    remap_progress,
    rollups,
)
from prosperstack_destination.store.account_stats import Failures
from prosperstack_destination.store.accounts import Account, AccountStatus
from prosperstack_destination.store.models import UNSETTLED, Status
from prosperstack_destination.store.rate_limits import ReportedLimit
from prosperstack_destination.store.remap_progress import RemapProgress
from prosperstack_destination.store.rollups import Bucket, Rollup, percentile

#: How many profiles are settled a minute is told by the last of these, in microseconds.
PACE: Final = 5 * MINUTE
#: A backlog that was not seen for so long has begun anew, in microseconds.
UNSEEN: Final = 3 * MINUTE
#: So few that wait, or so small a part of those that wait now, are what live changes come to: no backlog.
FEW: Final = 3
FEW_OF_ALL: Final = 0.01


@dataclass(frozen=True, slots=True)
class UsageSummary:
    """What happened in a time, against what a plain forwarder would have spent."""

    tally: Rollup

    @property
    def naive(self) -> int:
        """Requests of a forwarder for the people that are settled: a look-up each, and an update of a subscriber.

        People who wait count for nothing yet: they still cost requests here as well.
        """
        return 2 * self.tally.settled - self.tally.unmatched

    @property
    def saved(self) -> int:
        """Requests that were not spent."""
        return max(self.naive - self.tally.requests, 0)

    def within(self, part: float) -> float | None:
        """Within how many seconds of its call so large a part of the deliveries was done; None: there was none."""
        return percentile(self.tally.freshness, part)


@dataclass(frozen=True, slots=True)
class DeliveryProgress:
    """How far a backlog is. It began when something began to wait, and nothing did before."""

    begun_at: int
    #: Profiles that were settled since, and those that are left.
    done: int
    left: int
    #: None: it cannot be told, since the account is stopped, or nearly all requests fail.
    arrival: Eta | None

    @property
    def part(self) -> float:
        """How much of it is done, of 1."""
        return self.done / max(self.done + self.left, 1)


@dataclass(frozen=True, slots=True)
class Overview:
    """What there is to say of one account."""

    account: Account
    #: What its rate limit was told to be last; None: nothing yet.
    told: ReportedLimit | None
    #: The version of the mapping in force.
    mapping: int
    #: All profiles are being gone through, since what traits mean has changed: who is to wait is not known yet.
    going_through: RemapProgress | None
    waiting: Mapping[Status, int]
    #: Who waits is being counted, and not in ``waiting`` yet.
    counting: bool
    #: None: nothing waits.
    progress: DeliveryProgress | None
    failures: Failures
    #: Whether a value of a person cannot be written.
    has_problems: bool
    hour: UsageSummary
    day: UsageSummary
    #: Calls of a day that were refused because their keys open no account, of the whole service.
    refused_keys: int
    #: Profiles settled a minute, lately.
    settled_per_minute: float

    @property
    def backlog(self) -> int:
        """Profiles that are not settled."""
        return sum(self.waiting.values())

    @property
    def is_up_to_date(self) -> bool:
        """Whether ProsperStack has everything that Segment said: nothing waits, failed, or cannot be written."""
        works = self.account.status is AccountStatus.ACTIVE and self.account.catalog is not None
        return works and not (self.backlog or self.counting or self.failures.in_words or self.has_problems)


def overview(
    connection: Connection,
    account: Account,
    reserve: float,
    now: int,
    waiting: Mapping[Status, int] | None = None,
    minutes: list[Rollup] | None = None,
    *,
    counting: bool = False,
) -> Overview:
    """A unit of work: how an account stands. It reads indexes and tallies, and no profile.

    ``reserve`` is the part of the rate limit that is left for owners where none was chosen for the account;
    ``waiting`` how many wait, where that was counted before: to count them takes a look at each in an index. Where
    it was nobody they are counted anew, in the same view of the data: that all is done must be true.
    ``counting`` says that they are being counted elsewhere, and not to do so here.
    ``minutes`` is `minutes_of_day`, where that was read before.
    """
    going_through = remap_progress.of_account(connection, account.id)
    if minutes is None:
        minutes = minutes_of_day(connection, account.id, now)
    if counting:
        waiting = {}
    elif waiting is None or not any(waiting.get(status) for status in UNSETTLED):
        waiting = account_stats.waiting_by_status(connection, account.id, now)
    told = rate_limits.of_account(connection, account.id)
    left = sum(waiting.get(status, 0) for status in UNSETTLED)
    failed = account_stats.failures(connection, account.id)
    progress = None
    if left:
        stretch = since_it_began(minutes, left, now)
        begun_at = stretch.at if stretch.at else now
        expected = None
        if account.status is AccountStatus.ACTIVE and failed.waiting < left:
            expected = estimate(
                waiting,
                listing_state.read(connection, account.id),
                effective_rate(told, account.reserve_or(reserve)),
                stretch,
                together(minutes, now - LOOK_BACK),
                begun_at=begun_at,
                now=now,
            )
        progress = DeliveryProgress(begun_at, stretch.settled, left, expected)
    return Overview(
        account=account,
        told=told,
        mapping=mappings.current(connection, account.id).version,
        going_through=None if going_through is None or going_through.is_finished else going_through,
        waiting=waiting,
        counting=counting,
        progress=progress,
        failures=failed,
        has_problems=problems.has_any(connection, account.id),
        hour=UsageSummary(together(minutes, now - HOUR)),
        day=UsageSummary(together(minutes, now - DAY)),
        refused_keys=rollups.total(
            rollups.of_account(connection, rollups.NO_ACCOUNT, Bucket.HOUR, now - DAY)
        ).refused,
        settled_per_minute=together(minutes, now - PACE).settled * MINUTE / PACE,
    )


def minutes_of_day(connection: Connection, account_id: str, now: int) -> list[Rollup]:
    """What happened in each minute of the last day, the oldest first; quiet ones have no row."""
    return rollups.of_account(connection, account_id, Bucket.MINUTE, now - DAY)


def together(rows: list[Rollup], since: int) -> Rollup:
    """What happened from a time on (microseconds)."""
    return rollups.total([Rollup(since), *(row for row in rows if row.at + Bucket.MINUTE.microseconds > since)])


def since_it_began(minutes: list[Rollup], left: int, now: int) -> Rollup:
    """What happened since the backlog of which so many are ``left`` began: as far back as more than a few waited.

    Somebody looks about once a minute, so that a minute may go by without a look.
    """
    few = max(FEW, left * FEW_OF_ALL)
    found: list[Rollup] = []
    seen_at, seen = now, 0
    for row in reversed(minutes):
        if seen_at - row.at > UNSEEN:
            break
        found.append(row)
        if row.backlog > few:
            seen_at, seen = row.at, len(found)
    return rollups.total(found[:seen])


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
