"""The request budget."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prosperstack_destination.clock import SECOND
from prosperstack_destination.prosperstack.budget import (
    LONGEST_WINDOW_SECONDS,
    UNTOLD_INTERVAL,
    Budget,
    RateLimit,
)


def told(remaining: int, *, limit: int = 100, reset: float = 60.0, reserve: float = 0.1) -> Budget:
    """A budget at time 0, after one answer."""
    return Budget(reserve=reserve).answered(RateLimit(limit, remaining, reset), 0)


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
        (told(10), 0, 60 * SECOND),  # only the owner's are left
        (told(10), 59 * SECOND, 1 * SECOND),
        (told(10), 60 * SECOND, 0),  # a new window
        (told(1, reserve=0.0), 0, 0),
        (told(0, reserve=0.0), 0, 60 * SECOND),
        (told(1, limit=1), 0, 0),  # a reserve that is the whole limit would stop everything
        (told(0, limit=1), 0, 60 * SECOND),
        (told(2, limit=2, reserve=0.99), 0, 0),
    ],
)
def test_how_long_to_wait(budget: Budget, now: int, wait: int) -> None:
    """A request waits for the next window once only the owner's part of this one is left."""
    assert budget.wait(now) == wait


def test_what_is_sent_counts_until_the_next_answer() -> None:
    """Requests that are under way are spent already."""
    budget = told(12)

    assert budget.sent(0).wait(0) == 0
    assert budget.sent(0).sent(0).wait(0) == 60 * SECOND


def test_without_headers_it_is_careful() -> None:
    """While nothing is told a request goes now and then only."""
    budget = Budget(reserve=0.1).sent(0).answered(None, 1)

    assert budget.wait(1) == UNTOLD_INTERVAL - 1


def test_the_first_request_of_a_new_window_goes_alone() -> None:
    """Nothing is known of a new window before its first answer: others may have spent from it."""
    budget = told(10).sent(60 * SECOND)

    assert budget.wait(60 * SECOND) > 0
    assert budget.answered(RateLimit(100, 99, 60.0), 60 * SECOND).wait(60 * SECOND) == 0


@pytest.mark.parametrize(("retry_after", "wait"), [(5.0, 5), (None, 10), (0.0, 1), (1e9, 3600)])
def test_after_a_429(retry_after: float | None, wait: int) -> None:
    """A 429 is waited out for the time that it names, within reason, and never not at all."""
    assert told(50).refused(retry_after, 0).wait(0) == wait * SECOND


events = st.lists(
    st.one_of(
        st.just("send"),
        st.builds(RateLimit, st.integers(1, 200), st.integers(0, 200), st.floats(0, 100)),
        st.just("untold"),
        st.none() | st.floats(0, 100),
    ),
    max_size=20,
)


@given(st.floats(0, 0.99), events)
def test_it_never_waits_longer_than_a_window(reserve: float, happened: list[object]) -> None:
    """Whatever answers say, the next request goes within the longest window."""
    budget = Budget(reserve=reserve)
    for now, each in enumerate(happened):
        if isinstance(each, RateLimit):
            budget = budget.answered(each, now)
        elif each == "send":
            budget = budget.sent(now)
        elif each == "untold":
            budget = budget.answered(None, now)
        else:
            budget = budget.refused(each if isinstance(each, float) else None, now)

        assert 0 <= budget.wait(now) <= LONGEST_WINDOW_SECONDS * SECOND
        assert budget.wait(now + budget.wait(now)) == 0
