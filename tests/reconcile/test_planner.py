"""The planner's choice of the next request."""

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prosperstack_destination.clock import DAY, MINUTE, SECOND
from prosperstack_destination.prosperstack.budget import Budget, RateLimit
from prosperstack_destination.reconcile.planner import (
    MAX_DEBOUNCE_WINDOWS,
    MAX_SINGLE_LOOKUPS,
    ListPage,
    LookUp,
    Plan,
    PlannerInput,
    SendErasure,
    SendUpdate,
    SpendHistory,
    SweepPage,
    Wait,
    debounce,
    lookback,
    plan,
    sweep_every,
)
from prosperstack_destination.store.listing_state import ListingState
from prosperstack_destination.store.models import Lane
from prosperstack_destination.store.queue import Queue, QueueItem, QueueSnapshot, RecentChanges
from support.clocks import NEW_YEAR

NOW = NEW_YEAR
#: 90 requests a minute.
BUDGET = Budget(reserve=0.1).sent(0)
BUDGET = BUDGET.answered(BUDGET.ticket, RateLimit(100, 99, 60.0), 0)


def waiting(profile_id: int, lane: Lane = Lane.LIVE, age: int = SECOND) -> QueueItem:
    return QueueItem(profile_id, lane, NOW - age, NOW - age)


def queue(lane: Lane, newest: int, oldest: int, size: int = 2, age: int = MINUTE) -> Queue:
    return Queue(waiting(newest, lane), waiting(oldest, lane, age), size)


CANCELLING = queue(Lane.CANCELLING, 1, 1, 1)
LIVE = queue(Lane.LIVE, 2, 3)
BULK = queue(Lane.BULK, 4, 5)
LISTED = ListingState(as_of=NOW - MINUTE, watermark=NOW - MINUTE, size=1000, refresh_at=NOW + MINUTE)
NEVER = ListingState()


def planner_input(
    queues: QueueSnapshot, listing: ListingState = LISTED, history: SpendHistory | None = None
) -> PlannerInput:
    listed_before = SpendHistory(listed_at=-MINUTE)
    return PlannerInput(queues, listing, BUDGET, history or listed_before, {}, False, NOW, 0)


def unknown(count: int, live: int = 0) -> QueueSnapshot:
    newest = waiting(8) if live else None
    return QueueSnapshot(
        unknown=count, unknown_live=live, newest_unknown=newest, oldest_unknown=waiting(9, Lane.BULK)
    )


@pytest.mark.parametrize(
    ("pending", "expected"),
    [
        (QueueSnapshot(), Wait(None)),
        (QueueSnapshot(bulk=BULK), SendUpdate(5, Lane.BULK, urgent=False)),  # the longest unchanged
        (QueueSnapshot(bulk=BULK, live=LIVE), SendUpdate(2, Lane.LIVE, urgent=True)),  # the newest
        (QueueSnapshot(bulk=BULK, live=LIVE, erasure_due=True), SendErasure()),
        (
            QueueSnapshot(bulk=BULK, live=LIVE, erasure_due=True, cancelling=CANCELLING),
            SendUpdate(1, Lane.CANCELLING, urgent=True),
        ),
        (
            QueueSnapshot(bulk=BULK, live=LIVE, erasure_due=True, unknown_cancelling=waiting(7), unknown=1),
            LookUp(7, urgent=True),
        ),
        # A flood of live changes is paced as the bulk is.
        (QueueSnapshot(live=queue(Lane.LIVE, 2, 3, size=50)), SendUpdate(2, Lane.LIVE, urgent=False)),
    ],
)
def test_requests_go_by_priority(pending: QueueSnapshot, expected: Plan) -> None:
    """Cancel flows go first, then erasures, live changes and bulk changes."""
    assert plan(planner_input(pending)) == expected


def test_bulk_gets_every_fourth_request() -> None:
    """While live changes wait too, every fourth request is for bulk."""
    state = planner_input(QueueSnapshot(bulk=queue(Lane.BULK, 4, 5, age=2 * MINUTE), live=LIVE))
    lanes = []
    for _ in range(12):
        request = plan(state)
        assert isinstance(request, SendUpdate)
        lanes.append(request.lane)
        state = replace(state, history=state.history.after(request, state))

    assert lanes == [Lane.LIVE, Lane.LIVE, Lane.LIVE, Lane.BULK] * 3


def test_oldest_live_change_shares_the_bulk_requests() -> None:
    """The newest changes go first, and the oldest one still progresses."""
    state = planner_input(QueueSnapshot(live=LIVE), history=SpendHistory(since_bulk=3, listed_at=-MINUTE))

    assert plan(state) == SendUpdate(3, Lane.BULK, urgent=False)


@pytest.mark.parametrize(
    ("listing_state", "count", "expected"),
    [
        (NEVER, 1, LookUp),  # one is looked up
        (NEVER, 10, LookUp),
        (NEVER, 11, ListPage),  # more are listed
        (ListingState(lookups=10), 1, ListPage),  # also one after another: ten lookups cost as much as a listing
        (ListingState(began_at=NOW, cursor="c", pages=300), 200, LookUp),  # a longer listing than it is worth
        (ListingState(began_at=NOW, cursor="c", pages=300), 400, ListPage),
        (ListingState(began_at=NOW, cursor="c", pages=300, found=900), 200, ListPage),  # it finds three a page
    ],
)
def test_first_listing_starts_when_cheaper_than_lookups(
    listing_state: ListingState, count: int, expected: type
) -> None:
    """Profiles are looked up while that is cheaper than a listing of unknown length."""
    assert isinstance(plan(planner_input(unknown(count), listing_state)), expected)


def test_due_sweep_page_goes_before_live_changes() -> None:
    """A due page of the sweep goes before live changes and after cancel flows."""
    due = replace(LISTED, sweep_at=NOW)
    page = SweepPage(sweep_every(BUDGET.interval, LISTED.size))

    assert plan(planner_input(QueueSnapshot(live=LIVE, bulk=BULK), due)) == page
    assert plan(planner_input(QueueSnapshot(), replace(LISTED, sweep_at=NOW + 1))) == Wait(None)
    assert plan(planner_input(QueueSnapshot(cancelling=CANCELLING), due)) == SendUpdate(
        1, Lane.CANCELLING, urgent=True
    )


@pytest.mark.parametrize(
    ("size", "per_day"),
    [
        (None, 1),
        (50, 1),  # one page
        (50_000, 500),  # all of them
        (1_000_000, 720),  # 10,000 pages: two weeks, at one request in 200
    ],
)
def test_sweep_takes_a_day_or_its_share_of_requests(size: int | None, per_day: int) -> None:
    """Pages are spread over a day, and are at most one request in 200."""
    interval = 60 * SECOND // 100

    assert DAY // sweep_every(interval, size) == per_day


def test_next_page_waits_for_its_cursor() -> None:
    """While a page is in flight bulk continues, and no other page is requested."""
    state = replace(planner_input(unknown(100), NEVER), page_in_flight=True)

    assert plan(state) == Wait(None)
    with_bulk = replace(state, queues=replace(state.queues, bulk=BULK))
    assert plan(with_bulk) == SendUpdate(5, Lane.BULK, urgent=False)


def test_live_profile_is_looked_up_during_a_listing() -> None:
    """One in ten requests of a listing looks up a live profile, which need not wait for its end."""
    listing_state = ListingState(began_at=NOW, cursor="c", pages=50)
    state = planner_input(unknown(1000, live=1), listing_state)
    kinds = []
    for _ in range(20):
        request = plan(state)
        kinds.append(type(request))
        assert isinstance(request, LookUp | ListPage)
        state = replace(
            state,
            history=state.history.after(request, state),
            ticks=state.ticks + BUDGET.interval,
        )

    assert kinds.count(LookUp) == 2


@pytest.mark.parametrize(
    ("pending", "writes", "seconds", "expected"),
    [
        (unknown(300), 0, 60, ListPage),  # one page covers all of them
        (unknown(300), 0, 6, Wait),  # and not more often than every seven seconds
        (unknown(300), 0, 7, ListPage),
        (replace(unknown(300), bulk=replace(BULK, size=5000)), 0, 60, SendUpdate),  # they can wait behind a backlog
        (replace(unknown(300), bulk=replace(BULK, size=5000)), 0, 67, ListPage),
        (replace(unknown(9, live=9), bulk=replace(BULK, size=5000)), 1000, 60, LookUp),  # 11 pages, 9 people
        (replace(unknown(12, live=12), bulk=replace(BULK, size=5000)), 1000, 80, ListPage),
    ],
)
def test_listing_is_refreshed_within_its_share(
    pending: QueueSnapshot, writes: int, seconds: int, expected: type
) -> None:
    """A listing of recent updates covers all waiting profiles and takes a small share of the budget."""
    state = planner_input(pending, replace(LISTED, writes=writes), SpendHistory(listed_at=-seconds * SECOND))

    assert isinstance(plan(state), expected)


def test_idle_listing_is_refreshed_when_due() -> None:
    """A person may subscribe after the call; a refresh waits behind a backlog."""
    due = replace(LISTED, refresh_at=NOW)

    assert plan(planner_input(QueueSnapshot(), due)) == ListPage()
    assert plan(planner_input(QueueSnapshot(), replace(due, writes=12_000))) == Wait(None)  # 121 pages for it
    assert plan(planner_input(QueueSnapshot(), LISTED)) == Wait(None)
    assert plan(planner_input(QueueSnapshot(bulk=BULK), due)) == SendUpdate(5, Lane.BULK, urgent=False)


@pytest.mark.parametrize(
    ("size", "short", "long", "debounced"),
    [
        (10, 10, 10, False),  # few profiles are sent at once
        (1000, 0, 0, False),  # no recent change
        (1000, 69, 69, False),  # no more came in than could be sent in that time
        (1000, 80, 80, True),
        (1000, 0, 300, False),  # no change for a while
    ],
)
def test_lane_is_debounced_while_changes_arrive_faster_than_requests(
    size: int, short: int, long: int, debounced: bool
) -> None:
    """A profile sent now might change again and need another request."""
    lane = queue(Lane.BULK, 4, 5, size=size)

    assert (debounce(lane, RecentChanges(short), RecentChanges(long), BUDGET, NOW) is not None) is debounced


def test_repeated_changes_are_debounced_longer() -> None:
    """Where the same profiles change again and again, the next wave is waited for."""
    lane = queue(Lane.BULK, 4, 5, size=1000)

    assert debounce(lane, RecentChanges(0), RecentChanges(300, repeats=100), BUDGET, NOW) is None
    assert debounce(lane, RecentChanges(0), RecentChanges(300, repeats=200), BUDGET, NOW) is not None


def test_debouncing_ends_after_an_hour() -> None:
    """After an hour of one-minute windows profiles are sent despite new changes."""
    old = queue(Lane.BULK, 4, 5, size=1000, age=MAX_DEBOUNCE_WINDOWS * BUDGET.length)

    assert debounce(old, RecentChanges(1000), RecentChanges(1000), BUDGET, NOW) is None


def test_debounced_lane_gets_a_trickle() -> None:
    """Bulk always progresses: three in a hundred requests go to debounced profiles."""
    state = replace(planner_input(QueueSnapshot(bulk=BULK)), debouncing={Lane.BULK: 5 * MINUTE})
    sent = 0
    for _ in range(1000):
        request = plan(state)
        if isinstance(request, SendUpdate):
            sent += 1
            state = replace(state, history=state.history.after(request, state))
        state = replace(state, ticks=state.ticks + BUDGET.interval)

    assert 25 <= sent <= 31


def test_lookback_is_bounded() -> None:
    """For any backlog at most 15 windows of changes are counted."""
    spans = lookback(10_000_000, BUDGET)

    assert spans is not None
    assert spans.short == spans.long == 15 * BUDGET.length
    assert lookback(1, BUDGET) is None


queues = st.builds(
    lambda lane, size: queue(lane, 1, 2, size) if size else Queue(), st.sampled_from(Lane), st.integers(0, 20_000)
)
listing_states = st.builds(
    ListingState,
    as_of=st.none() | st.integers(NOW - MINUTE, NOW),
    began_at=st.none() | st.just(NOW),
    pages=st.integers(0, 1000),
    found=st.integers(0, 1000),
    lookups=st.integers(0, 100),
    writes=st.integers(0, 10_000),
    refresh_at=st.none() | st.integers(NOW - MINUTE, NOW + MINUTE),
)


@given(queues, queues, st.integers(0, 100), st.integers(0, 100), listing_states, st.booleans(), st.booleans())
def test_ready_profiles_are_never_left_waiting(
    live: Queue,
    bulk: Queue,
    count: int,
    live_count: int,
    listing_state: ListingState,
    listing: bool,
    clearing: bool,
) -> None:
    """A ready profile that is not debounced is sent, or a more urgent request is."""
    pending = replace(unknown(count + live_count, live_count), live=live, bulk=bulk, erasure_due=clearing)
    if not count + live_count:
        pending = replace(pending, oldest_unknown=None)
    request = plan(replace(planner_input(pending, listing_state), page_in_flight=listing))

    if live.size or bulk.size or clearing:
        assert not isinstance(request, Wait)


@given(st.integers(0, 3), st.integers(0, 3))
def test_few_live_changes_go_before_bulk(live: int, since_bulk: int) -> None:
    """A few live changes go before any bulk that has had its share."""
    pending = QueueSnapshot(live=queue(Lane.LIVE, 2, 3, live + 1), bulk=replace(BULK, size=10_000))
    request = plan(planner_input(pending, history=SpendHistory(since_bulk=min(since_bulk, 2), listed_at=0)))

    assert request == SendUpdate(2, Lane.LIVE, urgent=True)


def test_every_input_has_a_plan() -> None:
    """Every combination of queues and listing state leads to a request or a wait."""
    parts = product(
        (Queue(), CANCELLING),
        (Queue(), LIVE),
        (Queue(), BULK),
        (0, 1, MAX_SINGLE_LOOKUPS + 1, 500),
        (NEVER, LISTED),
        (True, False),
    )
    for cancelling, live, bulk, count, listing_state, listing in parts:
        pending = replace(unknown(count), cancelling=cancelling, live=live, bulk=bulk)
        if not count:
            pending = replace(pending, oldest_unknown=None)
        request = plan(replace(planner_input(pending, listing_state), page_in_flight=listing))
        assert isinstance(request, SendUpdate | SendErasure | LookUp | ListPage | Wait)
