"""Overview of an account: backlog and its ETA, freshness, requests spent and saved, and activity for charts."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sqlalchemy import Connection

from prosperstack_destination.clock import DAY, HOUR, MINUTE, SECOND
from prosperstack_destination.prosperstack.forecast import PAGE, Rate
from prosperstack_destination.reconcile.rate_limiter import effective_rate
from prosperstack_destination.store import account_stats, accounts, listing_state, mappings, problems, rollups
from prosperstack_destination.store.account_stats import Failures, ReportedLimit
from prosperstack_destination.store.accounts import Account, AccountStatus
from prosperstack_destination.store.listing_state import ListingState
from prosperstack_destination.store.mappings import RemapProgress
from prosperstack_destination.store.models import UNSETTLED, Status
from prosperstack_destination.store.rollups import Bucket, Rollup, percentile

#: Window that measures the pace, in microseconds. A younger backlog is estimated by the rate limit.
LOOK_BACK: Final = 10 * MINUTE
#: Least measured pace that counts, as a part of the rate limit. Below it ProsperStack is down, or delivery just
#: began.
MIN_PACE: Final = 0.2
#: Requests needed to measure the success rate, and the success rate below which there is no estimate.
MIN_REQUESTS: Final = 5
MIN_SUCCESS: Final = 0.2
#: Settled profiles needed to measure which part of them needs an update.
MIN_SETTLED: Final = 50


@dataclass(frozen=True, slots=True)
class Eta:
    """Remaining requests, and the time that they take."""

    #: Requests left: to find subscribers, and to write.
    lookups: int
    updates: int
    #: Seconds from now.
    seconds: float
    #: The estimate is an upper bound: how many people are subscribers, or differ, is not known yet.
    at_most: bool

    @property
    def requests(self) -> int:
        """Number of requests left."""
        return self.lookups + self.updates


def estimate(
    waiting: Mapping[Status, int],
    directory: ListingState,
    rate: Rate,
    since_begin: Rollup,
    recent: Rollup,
    *,
    begun_at: int,
    now: int,
) -> Eta | None:
    """Estimate when the waiting profiles are settled; None: none waits, or nearly all requests fail.

    ``since_begin`` counts since the backlog began (``begun_at``), ``recent`` over the last `LOOK_BACK`. Failed
    requests do not count. Times are in microseconds.
    """
    unknown = waiting.get(Status.UNKNOWN, 0) + waiting.get(Status.PENDING, 0)
    ready = waiting.get(Status.READY, 0)
    if not (unknown or ready):
        return None
    has_ratio = since_begin.settled >= MIN_SETTLED
    updates = ready + math.ceil(unknown * (since_begin.delivered / since_begin.settled if has_ratio else 1.0))
    lookups = min(unknown, _pages_left(directory, unknown))
    success = 1.0
    if recent.requests >= MIN_REQUESTS:
        success = 1 - recent.failed / recent.requests
        if success < MIN_SUCCESS:
            return None
    seconds = (lookups + updates) / (_per_second(rate, recent, now - begun_at) * success)
    return Eta(lookups, updates, seconds, at_most=bool(unknown) and not has_ratio)


def _pages_left(directory: ListingState, unknown: int) -> int:
    """Return the requests that a listing still needs; the number of lookups if the listing's size is unknown."""
    if directory.size is None:
        return unknown
    pages = math.ceil(directory.size / PAGE)
    return max(pages - directory.pages, 1) if directory.in_progress and directory.since is None else pages


def _per_second(rate: Rate, recent: Rollup, age: int) -> float:
    """Return the recent pace, in requests a second, if it is meaningful; else the pace that the limit allows."""
    if age < LOOK_BACK:
        return rate.per_second
    pace = recent.requests / (LOOK_BACK / SECOND)
    return pace if rate.per_second * MIN_PACE <= pace < rate.per_second else rate.per_second


#: Window that measures the profiles settled per minute, in microseconds.
PACE_WINDOW: Final = 5 * MINUTE
#: Longest time without a backlog within one backlog, in microseconds. After it a new one begins.
MAX_BACKLOG_GAP: Final = 3 * MINUTE
#: Waiting profiles up to this number, or up to this part of those that wait now, are live changes and no backlog.
MIN_BACKLOG: Final = 3
MIN_BACKLOG_PART: Final = 0.01


@dataclass(frozen=True, slots=True)
class UsageSummary:
    """Activity of a time span, compared with a plain forwarder."""

    totals: Rollup

    @property
    def naive(self) -> int:
        """Requests of a plain forwarder for the settled people: a lookup each, and an update of each subscriber.

        Waiting people do not count: they still cost requests here as well.
        """
        return 2 * self.totals.settled - self.totals.unmatched

    @property
    def saved(self) -> int:
        """Requests saved."""
        return max(self.naive - self.totals.requests, 0)

    def within(self, part: float) -> float | None:
        """Return the delay from call to delivery, in seconds, that this part of the deliveries met.

        None: no deliveries.
        """
        return percentile(self.totals.freshness, part)


@dataclass(frozen=True, slots=True)
class DeliveryProgress:
    """Progress of a backlog. It began at the first profile that waited after a time without a backlog."""

    begun_at: int
    #: Profiles settled since then, and profiles left.
    done: int
    left: int
    #: None: no estimate, since the account is stopped, or nearly all requests fail.
    eta: Eta | None

    @property
    def requests(self) -> int | None:
        """Requests left; None: no estimate."""
        return None if self.eta is None else self.eta.requests

    @property
    def seconds(self) -> float | None:
        """Seconds left; None: no estimate."""
        return None if self.eta is None else self.eta.seconds

    @property
    def at_most(self) -> bool:
        """True if the estimate is an upper bound."""
        return self.eta is not None and self.eta.at_most

    @property
    def part(self) -> float:
        """Part that is done, from 0 to 1."""
        return self.done / max(self.done + self.left, 1)


@dataclass(frozen=True, slots=True)
class Overview:
    """State of one account."""

    account: Account
    #: Rate limit that ProsperStack reported last; None: none yet.
    rate_limit: ReportedLimit | None
    #: Current mapping version.
    mapping: int
    #: Progress of the remap after the meaning of traits changed: until it ends, the backlog is not known. None:
    #: none is running.
    remap: RemapProgress | None
    waiting: Mapping[Status, int]
    #: The waiting profiles are being counted, and are not in ``waiting`` yet.
    counting: bool
    #: None: no profile waits.
    progress: DeliveryProgress | None
    failures: Failures
    #: True if any value of a person cannot be written.
    has_problems: bool
    hour: UsageSummary
    day: UsageSummary
    #: Calls of the last day that were refused because their keys open no account, over the whole service.
    refused_keys: int
    #: Profiles settled per minute over the last `PACE_WINDOW`.
    settled_per_minute: float

    @property
    def backlog(self) -> int:
        """Number of profiles that are not settled."""
        return sum(self.waiting.values())

    @property
    def is_up_to_date(self) -> bool:
        """True if ProsperStack has all that Segment sent: nothing waits, failed, or cannot be written."""
        works = self.account.status is AccountStatus.ACTIVE and self.account.catalog is not None
        return works and not (self.backlog or self.counting or self.failures.summary or self.has_problems)


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
    """Return the state of an account, from indexes and rollups, without reading profiles. A unit of work.

    ``reserve``: the part of the rate limit kept free for owners, if the account has none of its own. ``waiting``:
    counts made before, since counting reads an index entry per profile. If they are all zero they are counted again
    in the same snapshot: "up to date" must be true. ``counting``: the count runs elsewhere, so none is made here.
    ``minutes``: the result of `minutes_of_day`, if read before.
    """
    account = accounts.get(connection, account.id) or account
    remap = mappings.latest_remap(connection, account.id)
    if minutes is None:
        minutes = minutes_of_day(connection, account.id, now)
    if counting:
        waiting = {}
    elif waiting is None or not any(waiting.get(status) for status in UNSETTLED):
        waiting = account_stats.waiting_by_status(connection, account.id, now)
    rate_limit = account_stats.reported_limit(connection, account.id)
    left = sum(waiting.get(status, 0) for status in UNSETTLED)
    failures = account_stats.failures(connection, account.id)
    progress = None
    if left:
        since_begin = total_of_backlog(minutes, left, now)
        begun_at = since_begin.at if since_begin.at else now
        eta = None
        if account.status is AccountStatus.ACTIVE and failures.waiting < left:
            eta = estimate(
                waiting,
                listing_state.read(connection, account.id),
                effective_rate(rate_limit, account.reserve_or(reserve)),
                since_begin,
                total_since(minutes, now - LOOK_BACK),
                begun_at=begun_at,
                now=now,
            )
        progress = DeliveryProgress(begun_at, since_begin.settled, left, eta)
    return Overview(
        account=account,
        rate_limit=rate_limit,
        mapping=mappings.current(connection, account.id).version,
        remap=None if remap is None or remap.is_finished else remap,
        waiting=waiting,
        counting=counting,
        progress=progress,
        failures=failures,
        has_problems=problems.has_any(connection, account.id),
        hour=UsageSummary(total_since(minutes, now - HOUR)),
        day=UsageSummary(total_since(minutes, now - DAY)),
        refused_keys=rollups.total(
            rollups.of_account(connection, rollups.NO_ACCOUNT, Bucket.HOUR, now - DAY)
        ).refused,
        settled_per_minute=total_since(minutes, now - PACE_WINDOW).settled * MINUTE / PACE_WINDOW,
    )


def minutes_of_day(connection: Connection, account_id: str, now: int) -> list[Rollup]:
    """Return the activity of each minute of the last day, oldest first; quiet minutes have no row."""
    return rollups.of_account(connection, account_id, Bucket.MINUTE, now - DAY)


def total_of_day(connection: Connection, account_id: str, now: int) -> Rollup:
    """Return the total activity of the last 24 hours."""
    return total_since(minutes_of_day(connection, account_id, now), now - DAY)


def total_since(rows: list[Rollup], since: int) -> Rollup:
    """Return the total activity since a time (microseconds)."""
    return rollups.total([Rollup(since), *(row for row in rows if row.at + Bucket.MINUTE.microseconds > since)])


def total_of_backlog(minutes: list[Rollup], left: int, now: int) -> Rollup:
    """Return the total activity since the backlog began that has ``left`` profiles left.

    It goes back while more than `MIN_BACKLOG` profiles waited. The backlog is recorded about once a minute, so
    a minute may lack it.
    """
    few = max(MIN_BACKLOG, left * MIN_BACKLOG_PART)
    newest_first: list[Rollup] = []
    seen_at, seen = now, 0
    for row in reversed(minutes):
        if seen_at - row.at > MAX_BACKLOG_GAP:
            break
        newest_first.append(row)
        if row.backlog > few:
            seen_at, seen = row.at, len(newest_first)
    return rollups.total(newest_first[:seen])


class Period(StrEnum):
    """Time span of a chart."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"


#: Length of each period, length of its parts (both in microseconds), and the rollups to read.
PERIODS: Final[dict[Period, tuple[int, int, Bucket]]] = {
    Period.HOUR: (HOUR, MINUTE, Bucket.MINUTE),
    Period.DAY: (DAY, 15 * MINUTE, Bucket.MINUTE),
    Period.WEEK: (7 * DAY, 2 * HOUR, Bucket.HOUR),
}


def with_minutes(
    connection: Connection, account_id: str, period: Period, now: int
) -> tuple[list[Rollup], list[Rollup]]:
    """Return `minutes_of_day` and `history` of one snapshot. A unit of work."""
    minutes = minutes_of_day(connection, account_id, now)
    return minutes, history(connection, account_id, period, now, minutes)


def history(
    connection: Connection, account_id: str, period: Period, now: int, minutes: Sequence[Rollup] | None = None
) -> list[Rollup]:
    """Return the activity of each part of a period up to now, oldest first; zeros for a quiet part.

    ``minutes``: the result of `minutes_of_day`, if read before.
    """
    length, part, span = PERIODS[period]
    last = now - now % part
    first = last - length + part
    parts: dict[int, list[Rollup]] = {at: [] for at in range(first, last + part, part)}
    if minutes is None or span is not Bucket.MINUTE:
        minutes = rollups.of_account(connection, account_id, span, first)
    for row in minutes:
        parts.get(row.at - row.at % part, []).append(row)
    return [rollups.total([Rollup(at), *rows]) for at, rows in parts.items()]
