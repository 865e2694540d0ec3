"""The planner: chooses the next request, as a pure function of queues, listing state and budget.

Order: profiles in a cancel flow; erasures in ProsperStack; now and then a page of the sweep; live changes, newest
first; discovery of unknown subscribers; bulk changes, longest unchanged first. Bulk has a share of the requests, so
it always progresses.

Two rules save requests. Discovery uses whichever is cheaper, single lookups or a listing of 100 subscribers per
request. And a lane whose changes arrive faster than they could be sent is *debounced*: a profile sent now would
change again and need another request.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from prosperstack_destination.clock import SECOND
from prosperstack_destination.prosperstack.budget import Budget
from prosperstack_destination.store.listing_state import OVERLAP, SWEEP_AFTER, ListingState
from prosperstack_destination.store.models import Lane
from prosperstack_destination.store.queue import Queue, QueueItem, QueueSnapshot, RecentChanges

#: Share of the requests that bulk changes get while live changes wait too.
BULK_SHARE: Final = 0.25
#: Subscribers in a page of a listing.
PAGE: Final = 100
#: Expected length of a listing while nothing is known of it, in pages. After that as many pages are expected as
#: were read: for any length the cost is at most twice the cheapest way.
MIN_EXPECTED_PAGES: Final = 10
#: Share of the requests that refreshes the listing while profiles wait for it; while there is also a backlog, which
#: they would wait behind anyway; and while none waits.
REFRESH_SHARE: Final = 0.1
REFRESH_SHARE_IN_BACKLOG: Final = 0.01
REFRESH_SHARE_IDLE: Final = 0.005
#: Largest share of the requests that sweeps through all subscribers.
SWEEP_SHARE: Final = 0.005
#: Shortest time between two refreshes of the listing at any rate, in microseconds.
MIN_REFRESH_INTERVAL: Final = 5 * SECOND
#: Share of the requests for lookups of live profiles during a listing or a backlog.
LOOKUP_SHARE: Final = 0.1
#: Up to this many unknown live profiles are looked up one by one instead of listed.
MAX_SINGLE_LOOKUPS: Final = 10

#: A lane is debounced while more of its profiles changed, within this part of the time that sending them all takes,
#: than could be sent in it. The second value applies where most changes are repeated.
DEBOUNCE_SHARE: Final = 0.07
DEBOUNCE_SHARE_REPEATED: Final = 0.25
#: Smaller queues are never debounced.
DEBOUNCE_MIN_SIZE: Final = 20
#: Longest time for which changes are counted, and longest time that debouncing delays a profile, in windows.
DEBOUNCE_LOOKBACK_WINDOWS: Final = 15
MAX_DEBOUNCE_WINDOWS: Final = 60
#: Share of the requests for profiles of a debounced lane.
TRICKLE_SHARE: Final = 0.03


@dataclass(frozen=True, slots=True)
class SendErasure:
    """Clear or delete a subscriber after an erasure."""


@dataclass(frozen=True, slots=True)
class SendUpdate:
    """Update the subscribers of a profile."""

    profile_id: int
    lane: Lane
    #: Send as soon as the budget has any request left.
    urgent: bool


@dataclass(frozen=True, slots=True)
class LookUp:
    """Find the subscribers with a profile's email: one request, and one more for each further hundred."""

    profile_id: int
    urgent: bool


@dataclass(frozen=True, slots=True)
class ListPage:
    """Request the next page of the listing, or the first page of a new one."""


@dataclass(frozen=True, slots=True)
class SweepPage:
    """Request the next page of the sweep, or the first page of a new one."""

    #: Time until the following page is due, in microseconds.
    next_in: int


@dataclass(frozen=True, slots=True)
class Wait:
    """No request is worth sending now."""

    #: Time to wait, in microseconds; None: until something changes.
    microseconds: int | None


Request = SendErasure | SendUpdate | LookUp | ListPage | SweepPage
Plan = Request | Wait


@dataclass(frozen=True, slots=True)
class SpendHistory:
    """Recent requests. Times are ticks of a monotonic clock, in microseconds."""

    #: Requests since the latest one for bulk.
    since_bulk: int = 0
    #: Time of the latest request for a debounced lane, by lane; time of the latest lookup.
    trickled_at: Mapping[Lane, int] = field(default_factory=dict)
    looked_up_at: int | None = None
    #: Start of the latest listing.
    listed_at: int | None = None

    def after(self, request: Request, state: "PlannerInput") -> "SpendHistory":
        """Return the history after a request that was planned with ``state``."""
        ticks = state.ticks
        match request:
            case SendUpdate(lane=lane):
                is_debounced = lane in state.debouncing
                trickled_at = {**self.trickled_at, lane: ticks} if is_debounced else self.trickled_at
                since_bulk = 0 if lane is Lane.BULK else self.since_bulk + 1
                return replace(self, since_bulk=since_bulk, trickled_at=trickled_at)
            case LookUp():
                return replace(self, since_bulk=self.since_bulk + 1, looked_up_at=ticks)
            case ListPage():
                listed_at = self.listed_at if state.listing.in_progress else ticks
                return replace(self, since_bulk=self.since_bulk + 1, listed_at=listed_at)
            case SendErasure() | SweepPage():
                return replace(self, since_bulk=self.since_bulk + 1)


@dataclass(frozen=True, slots=True)
class Lookback:
    """Time spans for which a lane's changes are counted, to decide on debouncing; in microseconds."""

    short: int
    #: Used where most changes are repeated.
    long: int


def lookback(size: int, budget: Budget) -> Lookback | None:
    """Return the time spans for a lane with ``size`` waiting profiles; None: too few to debounce."""
    if size < DEBOUNCE_MIN_SIZE:
        return None
    drain = size * budget.interval
    longest = DEBOUNCE_LOOKBACK_WINDOWS * budget.length
    return Lookback(min(int(DEBOUNCE_SHARE * drain), longest), min(int(DEBOUNCE_SHARE_REPEATED * drain), longest))


def debounce(queue: Queue, short: RecentChanges, long: RecentChanges, budget: Budget, now: int) -> int | None:
    """Return how much longer a lane is debounced if nothing else changes, in microseconds; None: it is not."""
    spans = lookback(queue.size, budget)
    if spans is None or queue.newest is None or queue.oldest is None:
        return None
    if now - queue.oldest.pending_since >= MAX_DEBOUNCE_WINDOWS * budget.length:
        return None
    repeated = 2 * long.repeats > long.changes
    recent, span = (long, spans.long) if repeated else (short, spans.short)
    if recent.changes * budget.interval <= span:  # no more than could be sent in that time
        return None
    return max(queue.newest.due_at + span - now, budget.interval)


@dataclass(frozen=True, slots=True)
class PlannerInput:
    """Input of the planner."""

    queues: QueueSnapshot
    listing: ListingState
    budget: Budget
    history: SpendHistory
    #: Remaining debounce time of debounced lanes, in microseconds.
    debouncing: Mapping[Lane, int]
    #: A page of the listing is in flight: the next one needs its cursor.
    page_in_flight: bool
    #: The wall clock and the monotonic clock, in microseconds.
    now: int
    ticks: int
    bulk_share: float = BULK_SHARE


def plan(state: PlannerInput) -> Plan:
    """Return the next request, or the wait for one to be worth sending, without the budget's own wait."""
    queues = state.queues
    if (first := queues.cancelling.newest) is not None:
        return SendUpdate(first.profile_id, first.lane, urgent=True)
    if (first := queues.unknown_cancelling) is not None:
        return LookUp(first.profile_id, urgent=True)
    if queues.erasure_due:
        return SendErasure()
    if state.listing.sweep_at is not None and state.listing.sweep_at <= state.now:
        # At most one request in a few hundred, so it goes first: its turn might not come for days.
        return SweepPage(sweep_every(state.budget.interval, state.listing.size))
    bulk = _bulk(state)
    if isinstance(bulk, SendUpdate) and (state.history.since_bulk + 1) * state.bulk_share >= 1:
        return bulk
    live = _lane(state, Lane.LIVE, queues.live, queues.live.newest)
    if isinstance(live, SendUpdate):
        return live
    discover = _discover(state)
    if not isinstance(discover, Wait):
        return discover
    if isinstance(bulk, SendUpdate):
        return bulk
    waits = [wait.microseconds for wait in (live, discover, bulk) if wait.microseconds is not None]
    return Wait(min(waits, default=None))


def sweep_every(interval: int, size: int | None) -> int:
    """Return the time between two pages of a sweep, in microseconds.

    A sweep takes a day, or as long as its share of the requests takes. ``interval`` is the budget's; ``size`` is
    the known number of subscribers of the account.
    """
    return int(max(interval / SWEEP_SHARE, SWEEP_AFTER / max((size or 0) / PAGE, 1)))


def _bulk(state: PlannerInput) -> SendUpdate | Wait:
    """Return the next bulk update: the longest unchanged profile of both lanes, so that no live change starves."""
    live, bulk = state.queues.live, state.queues.bulk
    if live.oldest is not None and Lane.LIVE not in state.debouncing:
        is_older = bulk.oldest is None or live.oldest.due_at < bulk.oldest.due_at
        if is_older and live.size > 1:
            return SendUpdate(live.oldest.profile_id, Lane.BULK, urgent=False)
    return _lane(state, Lane.BULK, bulk, bulk.oldest)


def _lane(state: PlannerInput, lane: Lane, queue: Queue, item: QueueItem | None) -> SendUpdate | Wait:
    """Return a lane's next update. A debounced lane gets only its trickle."""
    if item is None:
        return Wait(None)
    is_small = (
        lane is Lane.LIVE and state.budget.window is not None and queue.size * 10 <= state.budget.window.limit
    )
    send = SendUpdate(item.profile_id, lane, urgent=is_small)
    if lane not in state.debouncing:
        return send
    trickle = _remaining(state.history.trickled_at.get(lane), state.budget.interval / TRICKLE_SHARE, state.ticks)
    return send if trickle == 0 else Wait(min(trickle, state.debouncing[lane]))


def _discover(state: PlannerInput) -> LookUp | ListPage | Wait:
    """Return the cheaper way to discover subscribers, if it is worth a request now."""
    if state.listing.as_of is None:
        return _discover_first(state)
    if state.page_in_flight:
        return Wait(None)
    if state.listing.in_progress:
        return ListPage()
    return _refresh_listing(state)


def _discover_first(state: PlannerInput) -> LookUp | ListPage | Wait:
    """Before the first complete listing: list where that is expected to cost less than lookups."""
    queues, listing = state.queues, state.listing
    item = queues.newest_unknown or queues.oldest_unknown
    if item is None:
        return Wait(None)
    few_live = queues.unknown_live <= MAX_SINGLE_LOOKUPS
    # A page that finds more than one waiting profile beats a lookup, for any number of pages left.
    worth_it = listing.in_progress and listing.found > listing.pages >= MIN_EXPECTED_PAGES
    if not worth_it and queues.unknown + listing.lookups <= max(listing.pages, MIN_EXPECTED_PAGES):
        return LookUp(item.profile_id, urgent=few_live and queues.newest_unknown is not None)
    if few_live and queues.newest_unknown is not None and _lookup_wait(state) == 0:
        return LookUp(queues.newest_unknown.profile_id, urgent=True)
    return Wait(None) if state.page_in_flight else ListPage()


def _refresh_listing(state: PlannerInput) -> LookUp | ListPage | Wait:
    """List the subscribers updated since the last listing, or look up a live one meanwhile.

    The listing serves all waiting profiles.
    """
    queues = state.queues
    pages = _pages(state)
    if not queues.unknown:
        return _refresh_when_idle(state)
    backlog = queues.bulk.size > MAX_SINGLE_LOOKUPS or queues.live.size > MAX_SINGLE_LOOKUPS
    share = REFRESH_SHARE_IN_BACKLOG if backlog and queues.unknown_live < pages else REFRESH_SHARE
    period = max(pages * state.budget.interval / share, MIN_REFRESH_INTERVAL)
    wait = _remaining(state.history.listed_at, period, state.ticks)
    if wait == 0:
        return ListPage()
    if backlog and queues.newest_unknown is not None:
        lookup_wait = _lookup_wait(state)
        if lookup_wait == 0:
            return LookUp(queues.newest_unknown.profile_id, urgent=True)
        wait = min(wait, lookup_wait)
    return Wait(wait)


def _refresh_when_idle(state: PlannerInput) -> ListPage | Wait:
    """Refresh the listing of an idle account: a person may have subscribed, or changed the email.

    The higher the cost, the later.
    """
    at, as_of = state.listing.refresh_at, state.listing.as_of
    backlog = state.queues.bulk.size or state.queues.live.size
    if at is None or as_of is None or backlog:
        return Wait(None)
    affordable_at = as_of + (_pages(state) - 1) * state.budget.interval / REFRESH_SHARE_IN_BACKLOG
    return ListPage() if max(at, affordable_at) <= state.now else Wait(None)


def _pages(state: PlannerInput) -> int:
    """Return the expected pages of a listing of updates since the last one, if only this service updates."""
    # The listing shows our own updates, and those in the overlap twice.
    repeated = state.listing.writes + OVERLAP // state.budget.interval
    return 1 + repeated // PAGE


def _lookup_wait(state: PlannerInput) -> int:
    return _remaining(state.history.looked_up_at, state.budget.interval / LOOKUP_SHARE, state.ticks)


def _remaining(since: int | None, period: float, ticks: int) -> int:
    """Return the rest of a period that began at ``since``; 0: it is over or never began."""
    return 0 if since is None else max(math.ceil(since + period - ticks), 0)
