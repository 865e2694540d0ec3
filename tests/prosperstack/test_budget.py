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
from prosperstack_destination.sandbox.account import FixedWindow

MINUTE = 60 * SECOND


def budget_after(remaining: int, *, limit: int = 100, reset: float = 60.0, reserve: float = 0.1) -> Budget:
    """Return a budget at time 0, after one response."""
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
def test_rate_limit_headers_are_read(headers: tuple[str | None, ...], expected: RateLimit | None) -> None:
    """The three headers are read; missing or invalid ones report nothing."""
    names = ("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset")
    given_headers = {name: text for name, text in zip(names, headers, strict=True) if text is not None}

    assert RateLimit.from_headers(given_headers) == expected


@pytest.mark.parametrize(
    ("budget", "now", "wait"),
    [
        (Budget(reserve=0.1), 0, 0),  # the first request goes, to learn the limit
        (budget_after(100), 0, 0),
        (budget_after(11), 0, 0),  # 11 left, 10 of them reserved
        (budget_after(10), 0, 60 * SECOND + GUARD),  # only the reserve is left
        (budget_after(10), 59 * SECOND, 1 * SECOND + GUARD),
        (budget_after(10), 60 * SECOND + GUARD, 0),  # a new window
        (budget_after(1, reserve=0.0), 0, 0),
        (budget_after(0, reserve=0.0), 0, 60 * SECOND + GUARD),
        (budget_after(1, limit=1), 0, 0),  # a reserve that is the whole limit would stop everything
        (budget_after(0, limit=1), 0, 60 * SECOND + GUARD),
        (budget_after(2, limit=2, reserve=0.99), 0, 0),
    ],
)
def test_urgent_request_waits_for_the_next_window(budget: Budget, now: int, wait: int) -> None:
    """A request waits for the next window once only the reserve of this one is left."""
    assert budget.wait(now, urgent=True) == wait


def test_requests_are_spread_over_the_window() -> None:
    """90 requests a minute go about every 0.65 s; a burst at the start would leave nothing for later."""
    budget = budget_after(99)

    waits = []
    now = 0
    while now + (wait := budget.wait(now)) < MINUTE:
        waits.append(wait)
        now += wait
        budget = budget.sent(now)

    assert len(waits) == 89  # the first went before
    assert max(waits) - min(waits) <= 2
    assert 57 * SECOND < now < 60 * SECOND


def test_late_requests_do_not_slow_the_pace() -> None:
    """Timers wake late: requests that each go 8 ms late keep the rate of one each 6.5 ms."""
    budget, sent, now = budget_after(9_999, limit=10_000), 0, 0
    while now < 10 * SECOND:
        wait = budget.wait(now)
        now += wait + 8 * SECOND // 1000 if wait else 0
        budget = budget.sent(now)
        sent += 1

    assert 1_500 < sent < 1_600


def test_lateness_beyond_the_bound_is_not_made_up_for() -> None:
    """After a pause at most a tenth of a second is made up for at once: no burst follows an idle minute."""
    budget, burst = budget_after(9_999, limit=10_000).sent(0), 0
    while not budget.wait(30 * SECOND):
        budget = budget.sent(30 * SECOND)
        burst += 1

    assert 1 < burst < 40


def test_unused_budget_is_spread_over_the_rest() -> None:
    """After half an idle window its whole budget goes in the other half."""
    budget = budget_after(99).sent(30 * SECOND)

    assert 0 < budget.wait(30 * SECOND) < 0.35 * SECOND


def test_requests_in_flight_count_as_spent() -> None:
    """A request counts as spent from sending on."""
    budget = budget_after(12)

    assert budget.sent(0).wait(0, urgent=True) == 0
    assert budget.sent(0).sent(0).wait(0, urgent=True) == 60 * SECOND + GUARD


def test_responses_out_of_order_count_once() -> None:
    """The response to the newest request shows the spending of others, in any order of arrival."""
    budget = budget_after(99)
    first = budget.sent(0)
    second = first.sent(0)

    later = second.answered(second.ticket, RateLimit(100, 95, 60.0), 0)  # 3 ours, so 2 of others
    both = later.answered(first.ticket, RateLimit(100, 98, 60.0), 0)

    assert both.window is not None
    assert (both.window.sent, both.window.others_spent, both.in_flight) == (3, 2, 0)


def test_without_headers_requests_are_slow() -> None:
    """While no limit is reported, requests go at the default interval."""
    budget = Budget(reserve=0.1).sent(0)
    budget = budget.answered(budget.ticket, None, 1)

    assert budget.wait(1) == DEFAULT_INTERVAL - 1


def test_missing_headers_slow_requests_again() -> None:
    """After a predicted window without a report, the default interval applies again."""
    budget = budget_after(99).sent(61 * SECOND)
    budget = budget.answered(budget.ticket, None, 61 * SECOND)
    assert budget.wait(62 * SECOND, urgent=True) == 0

    assert budget.sent(122 * SECOND).wait(122 * SECOND, urgent=True) == DEFAULT_INTERVAL


def test_new_window_starts_without_a_response() -> None:
    """A slow ProsperStack must not cost a response time in each window."""
    budget = budget_after(10).sent(61 * SECOND)

    assert budget.wait(61 * SECOND, urgent=True) == 0
    assert 0 < budget.wait(61 * SECOND) < SECOND


def test_response_of_an_earlier_window_is_ignored() -> None:
    """A late response does not change the window that began meanwhile."""
    late = budget_after(50).sent(59 * SECOND)
    budget = late.sent(61 * SECOND)

    assert budget.answered(late.ticket, RateLimit(100, 3, 1.0), 62 * SECOND).wait(62 * SECOND, urgent=True) == 0


def test_reset_is_refined_by_each_response() -> None:
    """Resets are rounded up: each response bounds the end of the window, and the earliest bound holds."""
    budget = budget_after(99, reset=1.0).sent(int(0.5 * SECOND))
    budget = budget.answered(budget.ticket, RateLimit(100, 0, 1.0), int(0.6 * SECOND))

    assert budget.wait(int(0.9 * SECOND), urgent=True) == int(0.1 * SECOND) + GUARD


@pytest.mark.parametrize("limit", [str(2**31), "9" * 300])
def test_limit_is_capped_at_32_bits(limit: str) -> None:
    """The database stores the reported limit as a number of 32 bits."""
    budget_after = RateLimit.from_headers(
        {"RateLimit-Limit": limit, "RateLimit-Remaining": limit, "RateLimit-Reset": "60"}
    )

    assert budget_after == RateLimit(2**31 - 1, 2**31 - 1, 60.0)


def test_wrong_reset_decays() -> None:
    """One response that reports an hour does not slow the later windows for long."""
    budget = budget_after(99, reset=3600.0)
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
def test_429_waits_for_the_window_or_longer(retry_after: float | None, wait: int) -> None:
    """A 429 is waited out until the window ends, or for a longer named time, within bounds."""
    assert budget_after(50).refused(retry_after, 0).wait(0, urgent=True) == wait


def test_repeated_429s_double_the_wait() -> None:
    """Without a window or a named time, each further 429 doubles the wait."""
    once = Budget(reserve=0.1).refused(None, 0)

    assert once.wait(0) == 10 * SECOND
    assert once.refused(None, 10 * SECOND).wait(10 * SECOND) == 20 * SECOND


def test_owners_requests_count_towards_the_reserve() -> None:
    """Once the owner has spent the reserve, it is not kept twice."""
    budget = budget_after(99).sent(0)
    shared = budget.answered(budget.ticket, RateLimit(100, 58, 60.0), 0)  # 2 ours, 40 of others

    left = 0
    while shared.wait(59 * SECOND, urgent=True) == 0:
        shared = shared.sent(59 * SECOND)
        left += 1
    assert left == 58


def test_expected_requests_of_the_owner_are_left() -> None:
    """An owner that spent 40 in the window before gets as many in this one, and a margin."""
    budget = budget_after(99).sent(0)
    budget = budget.answered(budget.ticket, RateLimit(100, 58, 60.0), 0)
    now = MINUTE + SECOND
    budget = budget.sent(now)

    spent = 1
    while budget.wait(now, urgent=True) == 0:
        budget = budget.sent(now)
        spent += 1
    assert 100 - spent == 40 + 13 + 1  # two deviations, 2 * sqrt(40), and one more


events = st.lists(
    st.one_of(
        st.just("send"),
        st.builds(RateLimit, st.integers(1, 200), st.integers(0, 200), st.floats(0, 100)),
        st.just("unreported"),
        st.none() | st.floats(0, 100),
    ),
    max_size=20,
)


@given(st.floats(0, 0.99), events, st.booleans())
def test_wait_never_exceeds_a_window(reserve: float, sequence: list[object], urgent: bool) -> None:
    """After any responses, a next request goes within the longest window, after finitely many checks."""
    budget = Budget(reserve=reserve)
    tickets: deque[Ticket] = deque([Ticket(-1, 1, 0)])
    for now, each in enumerate(sequence):
        match each:
            case RateLimit():
                budget = budget.answered(tickets[0], each, now)
            case "send":
                budget = budget.sent(now)
                tickets.append(budget.ticket)
            case "unreported":
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
    """A budget that is spent as fast as it allows, with the sandbox's rate limiter."""

    limit: int
    window_seconds: float
    latency: float
    budget: Budget = field(default_factory=lambda: Budget(reserve=0.1))
    passed: int = 0
    refused: int = 0
    others_refused: int = 0

    def run(self, seconds: float, others_every: float = 0.0) -> None:
        """Spend for ``seconds``; others send one request every ``others_every`` seconds."""
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
def test_nearly_all_of_the_budget_is_used(window_seconds: float, latency: float, part: float) -> None:
    """In windows of any length, and with responses slower than requests, our share is used, without a 429."""
    simulated = Simulated(100, window_seconds, latency)
    simulated.run(60 * window_seconds)

    assert simulated.refused == 0
    assert part * 60 * 90 < simulated.passed <= 61 * 90


def test_owner_keeps_their_requests() -> None:
    """With an owner that spends 40 of 100, over 90% of the rest is used, and 429s are rare for both."""
    simulated = Simulated(100, 60.0, 0.1)
    simulated.run(3600, others_every=1.5)

    assert simulated.passed > 0.9 * 60 * 60
    assert simulated.refused + simulated.others_refused <= 24  # most of them before the owner's spending is known


@pytest.mark.parametrize("others", [10.0, 85.0, 100.0])
def test_stopped_owner_is_noticed(others: float) -> None:
    """One request goes in each window, so that its response shows when others have stopped."""
    now = MINUTE + SECOND
    budget = replace(budget_after(99), others_spent=others)

    assert budget.wait(now) == 0
    assert replace(budget_after(99).sent(now), others_spent=100.0).wait(now) > 0


def test_window_joined_midway_does_not_set_the_length() -> None:
    """The length of windows is not taken from the rest of one: the next one's first response reports it."""
    budget = Budget(reserve=0.1).sent(0)
    budget = budget.answered(budget.ticket, RateLimit(100, 60, 39.0), 0)  # 21 seconds of it are over
    budget = budget.sent(40 * SECOND)
    budget = budget.answered(budget.ticket, RateLimit(100, 99, 60.0), 40 * SECOND)

    assert budget.window is not None
    assert budget.window.ends_at == 100 * SECOND + GUARD
    assert budget.sent(40 * SECOND).wait(40 * SECOND) > 60 * SECOND // 90 - SECOND // 10
