"""What to spend the next request on: a pure function of what waits, what is known, and what is left.

First whoever is about to cancel; then what has to be cleared for people who were erased; now and then a page of the
sweep through all subscribers; then live changes, the newest first; then learning who the others are; then the bulk,
what has been quiet for longest first. The bulk has a share of the requests, so that it always moves.

Two things make this cheaper than taking calls as they come. People are learned about by whichever is cheaper,
look-ups one by one or listing everybody, 100 a request. And while changes of a lane come in faster than they could
be sent, its people *gather*: whoever were sent now would change again and have to be sent again.
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

#: The part of the requests that is the bulk's while live changes wait too.
BULK_SHARE: Final = 0.25
#: Subscribers in a page of a listing.
PAGE: Final = 100
#: The pages that a listing is expected to have at least, while nothing is known of its length. After that, as many
#: are expected to follow as there were: whatever the length, no more than twice the cheapest way is spent.
MIN_EXPECTED_PAGES: Final = 10
#: The part of the requests that brings the directory up to date while somebody waits for it; while there is also
#: a backlog, which they would wait behind anyway; and while nobody waits.
REFRESH_SHARE: Final = 0.1
REFRESH_SHARE_IN_BACKLOG: Final = 0.01
REFRESH_SHARE_IDLE: Final = 0.005
#: The part of the requests that goes through all subscribers again, at most, whoever waits.
SWEEP_SHARE: Final = 0.005
#: However high the rate is, the directory is not brought up to date more often than this, in microseconds.
MIN_REFRESH_INTERVAL: Final = 5 * SECOND
#: The part of the requests that looks up single live people while a listing, or a backlog, is worked off.
LOOKUP_SHARE: Final = 0.1
#: More live unknown people than this are no longer looked up one by one while they could be listed.
MAX_SINGLE_LOOKUPS: Final = 10

#: A lane gathers while more of its waiting people changed, in this part of the time that sending them all will
#: take, than could be sent in it; the second where most of the changes are repeated.
DEBOUNCE_SHARE: Final = 0.07
DEBOUNCE_SHARE_REPEATED: Final = 0.25
#: So few never gather.
DEBOUNCE_MIN_SIZE: Final = 20
#: The longest time that is looked back for it, and the longest that anybody is kept waiting by it, in windows.
DEBOUNCE_LOOKBACK_WINDOWS: Final = 15
MAX_DEBOUNCE_WINDOWS: Final = 60
#: The part of the requests that goes to people who gather.
TRICKLE_SHARE: Final = 0.03


@dataclass(frozen=True, slots=True)
class SendErasure:
    """Clear a subscriber of what was written for somebody who was erased."""


@dataclass(frozen=True, slots=True)
class SendUpdate:
    """Update the subscribers of a profile."""

    profile_id: int
    lane: Lane
    #: As soon as the budget has a request left, however few.
    urgent: bool


@dataclass(frozen=True, slots=True)
class LookUp:
    """Ask which subscribers have a profile's email: one request, one more for each further hundred."""

    profile_id: int
    urgent: bool


@dataclass(frozen=True, slots=True)
class ListPage:
    """Ask for the next page of the listing, or for the first of a new one."""


@dataclass(frozen=True, slots=True)
class SweepPage:
    """Ask for the next page of the sweep, or for the first of a new one."""

    #: After how long the one after it is due, in microseconds.
    next_in: int


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing is worth a request now."""

    #: Until then, in microseconds from now; None: until something changes.
    microseconds: int | None


Request = SendErasure | SendUpdate | LookUp | ListPage | SweepPage
Plan = Request | Wait


@dataclass(frozen=True, slots=True)
class SpendHistory:
    """What requests went to lately. Times are ticks of a monotonic clock, in microseconds."""

    #: Requests since the latest that went to the bulk.
    since_bulk: int = 0
    #: When a profile that gathers was sent last, by lane; when somebody was looked up last.
    trickled_at: Mapping[Lane, int] = field(default_factory=dict)
    looked_up_at: int | None = None
    #: When a listing began last.
    listed_at: int | None = None

    def after(self, request: Request, state: "PlannerInput") -> "SpendHistory":
        """After a request that was planned in a situation has gone."""
        ticks = state.ticks
        match request:
            case SendUpdate(lane=lane):
                gathers = lane in state.debouncing
                trickled_at = {**self.trickled_at, lane: ticks} if gathers else self.trickled_at
                since = 0 if lane is Lane.BULK else self.since_bulk + 1
                return replace(self, since_bulk=since, trickled_at=trickled_at)
            case LookUp():
                return replace(self, since_bulk=self.since_bulk + 1, looked_up_at=ticks)
            case ListPage():
                listed_at = self.listed_at if state.listing.in_progress else ticks
                return replace(self, since_bulk=self.since_bulk + 1, listed_at=listed_at)
            case SendErasure() | SweepPage():
                return replace(self, since_bulk=self.since_bulk + 1)


@dataclass(frozen=True, slots=True)
class Lookback:
    """How far back changes of a lane are counted, to see whether it gathers; in microseconds."""

    short: int
    #: Where most changes are repeated.
    long: int


def lookback(size: int, budget: Budget) -> Lookback | None:
    """How far back to count the changes of a lane with so many waiting; None: it is too small to gather."""
    if size < DEBOUNCE_MIN_SIZE:
        return None
    drain = size * budget.interval
    longest = DEBOUNCE_LOOKBACK_WINDOWS * budget.length
    return Lookback(min(int(DEBOUNCE_SHARE * drain), longest), min(int(DEBOUNCE_SHARE_REPEATED * drain), longest))


def debounce(queue: Queue, short: RecentChanges, long: RecentChanges, budget: Budget, now: int) -> int | None:
    """How much longer a lane gathers if nothing else changes, in microseconds; None: it does not."""
    back = lookback(queue.size, budget)
    if back is None or queue.newest is None or queue.oldest is None:
        return None
    if now - queue.oldest.pending_since >= MAX_DEBOUNCE_WINDOWS * budget.length:
        return None
    repeated = 2 * long.repeats > long.changes
    recent, far = (long, back.long) if repeated else (short, back.short)
    if recent.changes * budget.interval <= far:  # no more than could be sent in that time
        return None
    return max(queue.newest.due_at + far - now, budget.interval)


@dataclass(frozen=True, slots=True)
class PlannerInput:
    """All that a plan rests on."""

    queues: QueueSnapshot
    listing: ListingState
    budget: Budget
    history: SpendHistory
    #: How much longer lanes gather, in microseconds; a lane that does not is not in it.
    debouncing: Mapping[Lane, int]
    #: A page of the listing is under way: the next has to wait for its cursor.
    page_in_flight: bool
    #: The wall's clock and the monotonic one, in microseconds.
    now: int
    ticks: int
    bulk_share: float = BULK_SHARE


def plan(state: PlannerInput) -> Plan:
    """The next request, or how long to wait for one to be worth sending. The budget's own wait is not in it."""
    waiting = state.queues
    if (first := waiting.cancelling.newest) is not None:
        return SendUpdate(first.profile_id, first.lane, urgent=True)
    if (first := waiting.unknown_cancelling) is not None:
        return LookUp(first.profile_id, urgent=True)
    if waiting.clearing:
        return SendErasure()
    if state.listing.sweep_at is not None and state.listing.sweep_at <= state.now:
        # One request in a few hundred at most: it need not wait for its turn, which may not come for days.
        return SweepPage(sweep_every(state.budget.interval, state.listing.size))
    bulk = _bulk(state)
    if isinstance(bulk, SendUpdate) and (state.history.since_bulk + 1) * state.bulk_share >= 1:
        return bulk
    live = _lane(state, Lane.LIVE, waiting.live, waiting.live.newest)
    if isinstance(live, SendUpdate):
        return live
    learn = _learn(state)
    if not isinstance(learn, Wait):
        return learn
    if isinstance(bulk, SendUpdate):
        return bulk
    waits = [each.microseconds for each in (live, learn, bulk) if each.microseconds is not None]
    return Wait(min(waits, default=None))


def sweep_every(interval: int, size: int | None) -> int:
    """How long between two pages of a sweep, in microseconds: it goes round in a day, or in as long as its part of
    the requests takes. ``interval``: the budget's; ``size``: subscribers of the account, as far as is known.
    """
    return int(max(interval / SWEEP_SHARE, SWEEP_AFTER / max((size or 0) / PAGE, 1)))


def _bulk(given: PlannerInput) -> SendUpdate | Wait:
    """The bulk's next: of both lanes what has been quiet for longest, so that live changes do not starve either."""
    live, bulk = given.queues.live, given.queues.bulk
    if live.oldest is not None and Lane.LIVE not in given.debouncing:
        behind = bulk.oldest is None or live.oldest.due_at < bulk.oldest.due_at
        if behind and live.size > 1:
            return SendUpdate(live.oldest.profile_id, Lane.BULK, urgent=False)
    return _lane(given, Lane.BULK, bulk, bulk.oldest)


def _lane(given: PlannerInput, lane: Lane, queue: Queue, which: QueueItem | None) -> SendUpdate | Wait:
    """A lane's next, unless it gathers: then a few only."""
    if which is None:
        return Wait(None)
    few = lane is Lane.LIVE and given.budget.window is not None and queue.size * 10 <= given.budget.window.limit
    send = SendUpdate(which.profile_id, lane, urgent=few)
    if lane not in given.debouncing:
        return send
    trickle = _left(given.history.trickled_at.get(lane), given.budget.interval / TRICKLE_SHARE, given.ticks)
    return send if trickle == 0 else Wait(min(trickle, given.debouncing[lane]))


def _learn(given: PlannerInput) -> LookUp | ListPage | Wait:
    """The cheaper way to learn about who is not known, if it is worth a request now."""
    if given.listing.as_of is None:
        return _learn_first(given)
    if given.page_in_flight:
        return Wait(None)
    if given.listing.in_progress:
        return ListPage()
    return _bring_up_to_date(given)


def _learn_first(given: PlannerInput) -> LookUp | ListPage | Wait:
    """While the directory is not complete: list everybody, where that is expected to cost less than look-ups."""
    waiting, directory = given.queues, given.listing
    one = waiting.newest_unknown or waiting.oldest_unknown
    if one is None:
        return Wait(None)
    few = waiting.unknown_live <= MAX_SINGLE_LOOKUPS
    # A page that finds more people than the one that a look-up finds is worth it, however many pages are left.
    worth_it = directory.in_progress and directory.found > directory.pages >= MIN_EXPECTED_PAGES
    if not worth_it and waiting.unknown + directory.lookups <= max(directory.pages, MIN_EXPECTED_PAGES):
        return LookUp(one.profile_id, urgent=few and waiting.newest_unknown is not None)
    if few and waiting.newest_unknown is not None and _may_look_up(given) == 0:
        return LookUp(waiting.newest_unknown.profile_id, urgent=True)
    return Wait(None) if given.page_in_flight else ListPage()


def _bring_up_to_date(given: PlannerInput) -> LookUp | ListPage | Wait:
    """List what was updated since, which tells of everybody who waits; or look a live one up meanwhile."""
    waiting = given.queues
    pages = _pages(given)
    if not waiting.unknown:
        return _when_idle(given)
    backlog = waiting.bulk.size > MAX_SINGLE_LOOKUPS or waiting.live.size > MAX_SINGLE_LOOKUPS
    share = REFRESH_SHARE_IN_BACKLOG if backlog and waiting.unknown_live < pages else REFRESH_SHARE
    period = max(pages * given.budget.interval / share, MIN_REFRESH_INTERVAL)
    wait = _left(given.history.listed_at, period, given.ticks)
    if wait == 0:
        return ListPage()
    if backlog and waiting.newest_unknown is not None:
        may = _may_look_up(given)
        if may == 0:
            return LookUp(waiting.newest_unknown.profile_id, urgent=True)
        wait = min(wait, may)
    return Wait(wait)


def _when_idle(given: PlannerInput) -> ListPage | Wait:
    """Somebody may have become a subscriber, or have another email now; the dearer, the later."""
    at, as_of = given.listing.refresh_at, given.listing.as_of
    backlog = given.queues.bulk.size or given.queues.live.size
    if at is None or as_of is None or backlog:
        return Wait(None)
    affordable_at = as_of + (_pages(given) - 1) * given.budget.interval / REFRESH_SHARE_IN_BACKLOG
    return ListPage() if max(at, affordable_at) <= given.now else Wait(None)


def _pages(given: PlannerInput) -> int:
    """How many pages a listing of what was updated since has, if nobody else updates anything."""
    # Our own updates are shown again, and those of the overlap once more.
    again = given.listing.writes + OVERLAP // given.budget.interval
    return 1 + again // PAGE


def _may_look_up(given: PlannerInput) -> int:
    return _left(given.history.looked_up_at, given.budget.interval / LOOKUP_SHARE, given.ticks)


def _left(since: int | None, period: float, ticks: int) -> int:
    """What is left of a period that began at some time; 0: nothing."""
    return 0 if since is None else max(math.ceil(since + period - ticks), 0)
