"""What the next request is spent on."""

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
#: 90 requests a minute are ours.
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


def situation(
    pending: QueueSnapshot, directory: ListingState = LISTED, spent: SpendHistory | None = None
) -> PlannerInput:
    listed_before = SpendHistory(listed_at=-MINUTE)
    return PlannerInput(pending, directory, BUDGET, spent or listed_before, {}, False, NOW, 0)


def unknown(many: int, live: int = 0) -> QueueSnapshot:
    newest = waiting(8) if live else None
    return QueueSnapshot(
        unknown=many, unknown_live=live, newest_unknown=newest, oldest_unknown=waiting(9, Lane.BULK)
    )


@pytest.mark.parametrize(
    ("pending", "expected"),
    [
        (QueueSnapshot(), Wait(None)),
        (QueueSnapshot(bulk=BULK), SendUpdate(5, Lane.BULK, urgent=False)),  # what has been quiet for longest
        (QueueSnapshot(bulk=BULK, live=LIVE), SendUpdate(2, Lane.LIVE, urgent=True)),  # the newest
        (QueueSnapshot(bulk=BULK, live=LIVE, clearing=True), SendErasure()),
        (
            QueueSnapshot(bulk=BULK, live=LIVE, clearing=True, cancelling=CANCELLING),
            SendUpdate(1, Lane.CANCELLING, urgent=True),
        ),
        (
            QueueSnapshot(bulk=BULK, live=LIVE, clearing=True, unknown_cancelling=waiting(7), unknown=1),
            LookUp(7, urgent=True),
        ),
        # A flood of live changes is paced as the bulk is.
        (QueueSnapshot(live=queue(Lane.LIVE, 2, 3, size=50)), SendUpdate(2, Lane.LIVE, urgent=False)),
    ],
)
def test_who_goes_first(pending: QueueSnapshot, expected: Plan) -> None:
    """Whoever is about to cancel, then clearing, then live changes, then the bulk."""
    assert plan(situation(pending)) == expected


def test_the_bulk_has_its_share() -> None:
    """While live changes wait too, every fourth request is the bulk's."""
    given_now = situation(QueueSnapshot(bulk=queue(Lane.BULK, 4, 5, age=2 * MINUTE), live=LIVE))
    lanes = []
    for _ in range(12):
        request = plan(given_now)
        assert isinstance(request, SendUpdate)
        lanes.append(request.lane)
        given_now = replace(given_now, history=given_now.history.after(request, given_now))

    assert lanes == [Lane.LIVE, Lane.LIVE, Lane.LIVE, Lane.BULK] * 3


def test_the_oldest_live_change_has_a_part_in_the_bulks_share() -> None:
    """The newest go first, and yet who has waited longest moves."""
    given_now = situation(QueueSnapshot(live=LIVE), spent=SpendHistory(since_bulk=3, listed_at=-MINUTE))

    assert plan(given_now) == SendUpdate(3, Lane.BULK, urgent=False)


@pytest.mark.parametrize(
    ("directory", "many", "expected"),
    [
        (NEVER, 1, LookUp),  # one is looked up
        (NEVER, 10, LookUp),
        (NEVER, 11, ListPage),  # more are listed
        (ListingState(lookups=10), 1, ListPage),  # also one after another: so many look-ups are a listing
        (ListingState(began_at=NOW, cursor="c", pages=300), 200, LookUp),  # a longer listing than it is worth
        (ListingState(began_at=NOW, cursor="c", pages=300), 400, ListPage),
        (ListingState(began_at=NOW, cursor="c", pages=300, found=900), 200, ListPage),  # it finds three a page
    ],
)
def test_the_first_listing(directory: ListingState, many: int, expected: type) -> None:
    """People are looked up while that is cheaper than listing everybody, whose number is not known."""
    assert isinstance(plan(situation(unknown(many), directory)), expected)


def test_a_sweep_goes_on_whoever_waits() -> None:
    """A page of the sweep that is due goes before live changes, behind whoever is about to cancel."""
    due = replace(LISTED, sweep_at=NOW)
    page = SweepPage(sweep_every(BUDGET.interval, LISTED.size))

    assert plan(situation(QueueSnapshot(live=LIVE, bulk=BULK), due)) == page
    assert plan(situation(QueueSnapshot(), replace(LISTED, sweep_at=NOW + 1))) == Wait(None)
    assert plan(situation(QueueSnapshot(cancelling=CANCELLING), due)) == SendUpdate(1, Lane.CANCELLING, urgent=True)


@pytest.mark.parametrize(
    ("size", "per_day"),
    [
        (None, 1),
        (50, 1),  # one page
        (50_000, 500),  # all of them
        (1_000_000, 720),  # 10,000 pages: two weeks, at one request in 200
    ],
)
def test_a_sweep_goes_round_in_a_day_unless_that_is_too_dear(size: int | None, per_day: int) -> None:
    """Pages are spread over a day, and are one request in 200 at most."""
    interval = 60 * SECOND // 100

    assert DAY // sweep_every(interval, size) == per_day


def test_the_next_page_waits_for_its_cursor() -> None:
    """While a page is under way the bulk goes on, and no other page is asked for."""
    given_now = replace(situation(unknown(100), NEVER), page_in_flight=True)

    assert plan(given_now) == Wait(None)
    with_bulk = replace(given_now, queues=replace(given_now.queues, bulk=BULK))
    assert plan(with_bulk) == SendUpdate(5, Lane.BULK, urgent=False)


def test_a_live_person_is_looked_up_while_the_listing_runs() -> None:
    """One in ten requests of a listing looks up a single live person, who need not wait for its end."""
    directory = ListingState(began_at=NOW, cursor="c", pages=50)
    given_now = situation(unknown(1000, live=1), directory)
    kinds = []
    for _ in range(20):
        request = plan(given_now)
        kinds.append(type(request))
        assert isinstance(request, LookUp | ListPage)
        given_now = replace(
            given_now,
            history=given_now.history.after(request, given_now),
            ticks=given_now.ticks + BUDGET.interval,
        )

    assert kinds.count(LookUp) == 2


@pytest.mark.parametrize(
    ("pending", "writes", "seconds", "expected"),
    [
        (unknown(300), 0, 60, ListPage),  # one page tells of all of them
        (unknown(300), 0, 6, Wait),  # and not more often than every seven seconds
        (unknown(300), 0, 7, ListPage),
        (replace(unknown(300), bulk=replace(BULK, size=5000)), 0, 60, SendUpdate),  # behind a backlog they can wait
        (replace(unknown(300), bulk=replace(BULK, size=5000)), 0, 67, ListPage),
        (replace(unknown(9, live=9), bulk=replace(BULK, size=5000)), 1000, 60, LookUp),  # 11 pages, 9 people
        (replace(unknown(12, live=12), bulk=replace(BULK, size=5000)), 1000, 80, ListPage),
    ],
)
def test_bringing_the_directory_up_to_date(
    pending: QueueSnapshot, writes: int, seconds: int, expected: type
) -> None:
    """A listing of what was updated tells of everybody who waits, and takes a small part of the budget."""
    given_now = situation(pending, replace(LISTED, writes=writes), SpendHistory(listed_at=-seconds * SECOND))

    assert isinstance(plan(given_now), expected)


def test_an_idle_directory_is_brought_up_to_date_when_its_time_comes() -> None:
    """Somebody may become a subscriber after the call; while there is a backlog that can wait."""
    due = replace(LISTED, refresh_at=NOW)

    assert plan(situation(QueueSnapshot(), due)) == ListPage()
    assert plan(situation(QueueSnapshot(), replace(due, writes=12_000))) == Wait(None)  # 121 pages for it
    assert plan(situation(QueueSnapshot(), LISTED)) == Wait(None)
    assert plan(situation(QueueSnapshot(bulk=BULK), due)) == SendUpdate(5, Lane.BULK, urgent=False)


@pytest.mark.parametrize(
    ("size", "short", "long", "gathers"),
    [
        (10, 10, 10, False),  # so few are simply sent
        (1000, 0, 0, False),  # all quiet
        (1000, 69, 69, False),  # no more came in than could be sent in that time
        (1000, 80, 80, True),
        (1000, 0, 300, False),  # it has been quiet for a while
    ],
)
def test_a_lane_gathers_while_changes_come_in_faster_than_they_can_be_sent(
    size: int, short: int, long: int, gathers: bool
) -> None:
    """Whoever were sent now might change again and have to be sent again."""
    lane = queue(Lane.BULK, 4, 5, size=size)

    assert (debounce(lane, RecentChanges(short), RecentChanges(long), BUDGET, NOW) is not None) is gathers


def test_repeated_changes_are_waited_for_longer() -> None:
    """Where the same people change again and again, so the next wave is waited for."""
    lane = queue(Lane.BULK, 4, 5, size=1000)

    assert debounce(lane, RecentChanges(0), RecentChanges(300, repeats=100), BUDGET, NOW) is None
    assert debounce(lane, RecentChanges(0), RecentChanges(300, repeats=200), BUDGET, NOW) is not None


def test_nobody_gathers_for_ever() -> None:
    """After an hour of the usual windows people are sent, whatever comes in."""
    old = queue(Lane.BULK, 4, 5, size=1000, age=MAX_DEBOUNCE_WINDOWS * BUDGET.length)

    assert debounce(old, RecentChanges(1000), RecentChanges(1000), BUDGET, NOW) is None


def test_a_few_of_those_who_gather_are_sent() -> None:
    """The bulk always moves: three in a hundred requests go to who gathers."""
    given_now = replace(situation(QueueSnapshot(bulk=BULK)), debouncing={Lane.BULK: 5 * MINUTE})
    sent = 0
    for _ in range(1000):
        request = plan(given_now)
        if isinstance(request, SendUpdate):
            sent += 1
            given_now = replace(given_now, history=given_now.history.after(request, given_now))
        given_now = replace(given_now, ticks=given_now.ticks + BUDGET.interval)

    assert 25 <= sent <= 31


def test_looking_back_is_bounded() -> None:
    """However large a backlog is, no more than a quarter of an hour of changes is looked at."""
    back = lookback(10_000_000, BUDGET)

    assert back is not None
    assert back.short == back.long == 15 * BUDGET.length
    assert lookback(1, BUDGET) is None


queues = st.builds(
    lambda lane, size: queue(lane, 1, 2, size) if size else Queue(), st.sampled_from(Lane), st.integers(0, 20_000)
)
directories = st.builds(
    ListingState,
    as_of=st.none() | st.integers(NOW - MINUTE, NOW),
    began_at=st.none() | st.just(NOW),
    pages=st.integers(0, 1000),
    found=st.integers(0, 1000),
    lookups=st.integers(0, 100),
    writes=st.integers(0, 10_000),
    refresh_at=st.none() | st.integers(NOW - MINUTE, NOW + MINUTE),
)


@given(queues, queues, st.integers(0, 100), st.integers(0, 100), directories, st.booleans(), st.booleans())
def test_whatever_can_be_sent_is_sent(
    live: Queue, bulk: Queue, many: int, many_live: int, directory: ListingState, listing: bool, clearing: bool
) -> None:
    """Nothing waits in vain: who is ready and does not gather is sent, or somebody more urgent is."""
    pending = replace(unknown(many + many_live, many_live), live=live, bulk=bulk, clearing=clearing)
    if not many + many_live:
        pending = replace(pending, oldest_unknown=None)
    request = plan(replace(situation(pending, directory), page_in_flight=listing))

    if live.size or bulk.size or clearing:
        assert not isinstance(request, Wait)


@given(st.integers(0, 3), st.integers(0, 3))
def test_few_live_people_never_wait_behind_the_bulk(live: int, spent: int) -> None:
    """A handful of live changes goes before any bulk that has had its share."""
    pending = QueueSnapshot(live=queue(Lane.LIVE, 2, 3, live + 1), bulk=replace(BULK, size=10_000))
    request = plan(situation(pending, spent=SpendHistory(since_bulk=min(spent, 2), listed_at=0)))

    assert request == SendUpdate(2, Lane.LIVE, urgent=True)


def test_every_situation_has_a_plan() -> None:
    """Whatever is there and is not there, there is a request or a wait."""
    parts = product(
        (Queue(), CANCELLING),
        (Queue(), LIVE),
        (Queue(), BULK),
        (0, 1, MAX_SINGLE_LOOKUPS + 1, 500),
        (NEVER, LISTED),
        (True, False),
    )
    for cancelling, live, bulk, many, directory, listing in parts:
        pending = replace(unknown(many), cancelling=cancelling, live=live, bulk=bulk)
        if not many:
            pending = replace(pending, oldest_unknown=None)
        request = plan(replace(situation(pending, directory), page_in_flight=listing))
        assert isinstance(request, SendUpdate | SendErasure | LookUp | ListPage | Wait)
