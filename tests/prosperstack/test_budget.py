"""The request budget."""

from collections import deque
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prosperstack_destination.clock import SECOND
from prosperstack_destination.prosperstack.budget import (
    DEFAULT_INTERVAL,
    GUARD,
    LONGEST_WINDOW_SECONDS,
    Budget,
    RateLimit,
    Ticket,
)
from prosperstack_destination.sandbox.rate_limit import FixedWindow

MINUTE = 60 * SECOND


def told(remaining: int, *, limit: int = 100, reset: float = 60.0, reserve: float = 0.1) -> Budget:
    """A budget at time 0, after one answer."""
    budget = Budget(reserve=reserve).sent(0)
    return budget.answered(budget.ticket, RateLimit(limit, remaining, reset), 0)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (("100", "99", "60"), RateLimit(100, 99, 60.0)),
        (("100", "0", "0.5"), RateLimit(100, 0, 0.5)),
        (("100", "500", "60"), RateLimit(100, 100, 60.0)),  # more than there is
        (("100", "99", "1e9"), RateLimit(100, 99, LONGEST_WINDOW_SECONDS)),
        (("0", "0", "60"), None),
        (("-1", "99", "60"), None),
        (("100", "-5", "60"), None),
        (("100", "nan", "60"), None),
        (("100", "99", "inf"), None),
        (("100", "99", "soon"), None),
        ((None, "99", "60"), None),
        (("100", None, "60"), None),
        (("100", "99", None), None),
    ],
)
def test_reading_the_headers(headers: tuple[str | None, ...], expected: RateLimit | None) -> None:
    """The three headers are read; missing or absurd ones say nothing."""
    names = ("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset")
    given_headers = {name: text for name, text in zip(names, headers, strict=True) if text is not None}

    assert RateLimit.from_headers(given_headers) == expected


@pytest.mark.parametrize(
    ("budget", "now", "wait"),
    [
        (Budget(reserve=0.1), 0, 0),  # the first request goes, and learns
        (told(100), 0, 0),
        (told(11), 0, 0),  # 11 left, 10 of them the owner's
        (told(10), 0, 60 * SECOND + GUARD),  # only the owner's are left
        (told(10), 59 * SECOND, 1 * SECOND + GUARD),
        (told(10), 60 * SECOND + GUARD, 0),  # a new window
        (told(1, reserve=0.0), 0, 0),
        (told(0, reserve=0.0), 0, 60 * SECOND + GUARD),
        (told(1, limit=1), 0, 0),  # a reserve that is the whole limit would stop everything
        (told(0, limit=1), 0, 60 * SECOND + GUARD),
        (told(2, limit=2, reserve=0.99), 0, 0),
    ],
)
def test_how_long_an_urgent_request_waits(budget: Budget, now: int, wait: int) -> None:
    """A request waits for the next window once only the owner's part of this one is left."""
    assert budget.wait(now, urgent=True) == wait


def test_requests_are_spread_over_the_window() -> None:
    """90 requests of a minute go one in about 0.65 s; a burst at its beginning would leave nothing for later."""
    budget = told(99)

    waits = []
    now = 0
    while now + (wait := budget.wait(now)) < MINUTE:
        waits.append(wait)
        now += wait
        budget = budget.sent(now)

    assert len(waits) == 89  # the first went before
    assert max(waits) - min(waits) <= 2
    assert 57 * SECOND < now < 60 * SECOND


def test_what_was_not_used_is_spread_over_the_rest() -> None:
    """After half a window without work its whole budget goes in the other half."""
    budget = told(99).sent(30 * SECOND)

    assert 0 < budget.wait(30 * SECOND) < 0.35 * SECOND


def test_what_is_sent_counts_until_its_answer() -> None:
    """Requests that are under way are spent already."""
    budget = told(12)

    assert budget.sent(0).wait(0, urgent=True) == 0
    assert budget.sent(0).sent(0).wait(0, urgent=True) == 60 * SECOND + GUARD


def test_answers_that_overtake_each_other_count_once() -> None:
    """The answer to the newest request tells what others spent, in whatever order answers come."""
    budget = told(99)
    first = budget.sent(0)
    second = first.sent(0)

    later = second.answered(second.ticket, RateLimit(100, 95, 60.0), 0)  # 3 ours, so 2 of others
    both = later.answered(first.ticket, RateLimit(100, 98, 60.0), 0)

    assert both.window is not None
    assert (both.window.sent, both.window.others_spent, both.in_flight) == (3, 2, 0)


def test_without_headers_it_is_careful() -> None:
    """While nothing is told a request goes now and then only."""
    budget = Budget(reserve=0.1).sent(0)
    budget = budget.answered(budget.ticket, None, 1)

    assert budget.wait(1) == DEFAULT_INTERVAL - 1


def test_headers_that_cease_make_it_careful_again() -> None:
    """A window that is told of by no answer is the last one that is taken for granted."""
    budget = told(99).sent(61 * SECOND)
    budget = budget.answered(budget.ticket, None, 61 * SECOND)
    assert budget.wait(62 * SECOND, urgent=True) == 0

    assert budget.sent(122 * SECOND).wait(122 * SECOND, urgent=True) == DEFAULT_INTERVAL


def test_a_new_window_is_begun_without_waiting_for_its_first_answer() -> None:
    """A slow ProsperStack must not cost the time of an answer in each window."""
    budget = told(10).sent(61 * SECOND)

    assert budget.wait(61 * SECOND, urgent=True) == 0
    assert 0 < budget.wait(61 * SECOND) < SECOND


def test_an_answer_of_an_earlier_window_says_nothing_of_this_one() -> None:
    """An answer that comes late is no news of the window that began meanwhile."""
    late = told(50).sent(59 * SECOND)
    budget = late.sent(61 * SECOND)

    assert budget.answered(late.ticket, RateLimit(100, 3, 1.0), 62 * SECOND).wait(62 * SECOND, urgent=True) == 0


def test_a_reset_is_known_better_than_in_whole_seconds() -> None:
    """Resets are rounded up: each answer bounds the end of the window, and the earliest bound holds."""
    budget = told(99, reset=1.0).sent(int(0.5 * SECOND))
    budget = budget.answered(budget.ticket, RateLimit(100, 0, 1.0), int(0.6 * SECOND))

    assert budget.wait(int(0.9 * SECOND), urgent=True) == int(0.1 * SECOND) + GUARD


@pytest.mark.parametrize("limit", [str(2**31), "9" * 300])
def test_a_limit_is_no_larger_than_a_column(limit: str) -> None:
    """What a header names is stored by other processes to see: a number of 32 bits."""
    told = RateLimit.from_headers({"RateLimit-Limit": limit, "RateLimit-Remaining": limit, "RateLimit-Reset": "60"})

    assert told == RateLimit(2**31 - 1, 2**31 - 1, 60.0)


def test_an_absurd_reset_is_forgotten() -> None:
    """One answer that says an hour does not slow the windows after it for long."""
    budget = told(99, reset=3600.0)
    now = 3601 * SECOND
    for _ in range(8):
        budget = budget.sent(now)
        budget = budget.answered(budget.ticket, RateLimit(100, 99, 60.0), now)
        now += MINUTE + SECOND

    assert budget.length == MINUTE


@pytest.mark.parametrize(
    ("retry_after", "wait"),
    [
        (60.0, 60 * SECOND + GUARD),
        (5.0, 60 * SECOND + GUARD),  # no sooner than the window ends
        (61.0, 60 * SECOND + GUARD),  # the same reset, in whole seconds
        (300.0, 300 * SECOND),  # another limit than the window's
        (None, 60 * SECOND + GUARD),
        (1e9, 3600 * SECOND),
    ],
)
def test_after_a_429(retry_after: float | None, wait: int) -> None:
    """A 429 is waited out until the window ends, or for the longer time that it names, within reason."""
    assert told(50).refused(retry_after, 0).wait(0, urgent=True) == wait


def test_429s_that_go_on_are_waited_out_longer() -> None:
    """Without a window, and without a time named, each further 429 doubles the wait."""
    once = Budget(reserve=0.1).refused(None, 0)

    assert once.wait(0) == 10 * SECOND
    assert once.refused(None, 10 * SECOND).wait(10 * SECOND) == 20 * SECOND


def test_what_the_owner_spends_counts_towards_the_reserve() -> None:
    """The reserve is there for the owner: once they spent it, it is not kept twice."""
    budget = told(99).sent(0)
    shared = budget.answered(budget.ticket, RateLimit(100, 58, 60.0), 0)  # 2 ours, 40 of others

    left = 0
    while shared.wait(59 * SECOND, urgent=True) == 0:
        shared = shared.sent(59 * SECOND)
        left += 1
    assert left == 58


def test_what_the_owner_is_expected_to_spend_is_left() -> None:
    """Whoever spent 40 in the window before is left as many in this one, and a margin."""
    budget = told(99).sent(0)
    budget = budget.answered(budget.ticket, RateLimit(100, 58, 60.0), 0)
    now = MINUTE + SECOND
    budget = budget.sent(now)

    spent = 1
    while budget.wait(now, urgent=True) == 0:
        budget = budget.sent(now)
        spent += 1
    assert 100 - spent == 40 + 13 + 1  # two deviations of what comes by chance, 2 * sqrt(40), and the last one


events = st.lists(
    st.one_of(
        st.just("send"),
        st.builds(RateLimit, st.integers(1, 200), st.integers(0, 200), st.floats(0, 100)),
        st.just("untold"),
        st.none() | st.floats(0, 100),
    ),
    max_size=20,
)


@given(st.floats(0, 0.99), events, st.booleans())
def test_it_never_waits_longer_than_a_window(reserve: float, happened: list[object], urgent: bool) -> None:
    """Whatever answers say, a next request goes within the longest window, after finitely many looks."""
    budget = Budget(reserve=reserve)
    tickets: deque[Ticket] = deque([Ticket(-1, 1, 0)])
    for now, each in enumerate(happened):
        match each:
            case RateLimit():
                budget = budget.answered(tickets[0], each, now)
            case "send":
                budget = budget.sent(now)
                tickets.append(budget.ticket)
            case "untold":
                budget = budget.answered(tickets[-1], None, now)
            case _:
                budget = budget.refused(each if isinstance(each, float) else None, now)

        at = now
        for _ in range(200):
            wait = budget.wait(at, urgent=urgent)
            assert 0 <= wait <= LONGEST_WINDOW_SECONDS * SECOND
            if wait == 0:
                break
            at += wait
        assert at - now <= 2 * LONGEST_WINDOW_SECONDS * SECOND
        assert wait == 0


@dataclass
class Simulated:
    """A budget that is spent as fast as it allows, against the sandbox's limiter."""

    limit: int
    window_seconds: float
    latency: float
    budget: Budget = field(default_factory=lambda: Budget(reserve=0.1))
    passed: int = 0
    refused: int = 0
    others_refused: int = 0

    def run(self, seconds: float, others_every: float = 0.0) -> None:
        """Spend for so long; others spend once in that many seconds."""
        window = FixedWindow(self.limit, self.window_seconds)
        answers: deque[tuple[int, Ticket, RateLimit | None, bool]] = deque()
        now, others_at = 0, 0.0
        while now < seconds * SECOND:
            while answers and answers[0][0] <= now:
                at, ticket, rate_limit, taken = answers.popleft()
                self.budget = self.budget.answered(ticket, rate_limit, at)
                if not taken:
                    self.budget = self.budget.refused(rate_limit.reset_seconds if rate_limit else None, at)
            while others_every and others_at <= now / SECOND:
                self.others_refused += not window.take(others_at)
                others_at += others_every
            wait = self.budget.wait(now)
            if wait == 0:
                self.budget = self.budget.sent(now)
                taken = window.take(now / SECOND)
                self.passed += taken
                self.refused += not taken
                rate_limit = RateLimit.from_headers(window.headers(now / SECOND))
                answers.append((now + int(self.latency * SECOND), self.budget.ticket, rate_limit, taken))
                continue
            now = min(now + wait, answers[0][0] if answers else now + wait)


@pytest.mark.parametrize(
    ("window_seconds", "latency", "part"),
    [
        (60.0, 0.002, 0.97),
        (60.0, 0.1, 0.97),
        (60.0, 2.0, 0.97),  # three requests overlap
        (1.0, 0.002, 0.95),
        (1.0, 0.05, 0.93),
        (1.0, 0.4, 0.75),  # forty overlap, and the resets say nothing finer than the window
    ],
)
def test_nearly_the_whole_budget_is_used(window_seconds: float, latency: float, part: float) -> None:
    """In windows of any length, and with answers slower than requests, our part is used, without a 429."""
    simulated = Simulated(100, window_seconds, latency)
    simulated.run(60 * window_seconds)

    assert simulated.refused == 0
    assert part * 60 * 90 < simulated.passed <= 61 * 90


def test_the_owner_is_not_shut_out() -> None:
    """Beside an owner who spends 40 of 100 we use over 90% of the rest, and neither sees a 429 to speak of."""
    simulated = Simulated(100, 60.0, 0.1)
    simulated.run(3600, others_every=1.5)

    assert simulated.passed > 0.9 * 60 * 60
    assert simulated.refused + simulated.others_refused <= 24  # most of them before anything is known of the owner


@pytest.mark.parametrize("others", [10.0, 85.0, 100.0])
def test_an_owner_who_stopped_is_found_out(others: float) -> None:
    """Whatever others spent before, one request goes in each window: without it nobody learns that they stopped."""
    now = MINUTE + SECOND
    budget = replace(told(99), others_spent=others)

    assert budget.wait(now) == 0
    assert replace(told(99).sent(now), others_spent=100.0).wait(now) > 0


def test_a_window_that_was_met_in_its_middle() -> None:
    """How long windows are is not learned from the rest of one: the next is known by its own first answer."""
    budget = Budget(reserve=0.1).sent(0)
    budget = budget.answered(budget.ticket, RateLimit(100, 60, 39.0), 0)  # 21 seconds of it are over
    budget = budget.sent(40 * SECOND)
    budget = budget.answered(budget.ticket, RateLimit(100, 99, 60.0), 40 * SECOND)

    assert budget.window is not None
    assert budget.window.ends_at == 100 * SECOND + GUARD
    assert budget.sent(40 * SECOND).wait(40 * SECOND) > 60 * SECOND // 90 - SECOND // 10
