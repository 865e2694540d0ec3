"""The fixed window, at times of the tests' choice."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prosperstack_destination.sandbox.rate_limit import FixedWindow


@pytest.mark.parametrize(("now", "reset"), [(0.0, "60"), (0.5, "60"), (59.5, "1"), (60.0, "60")])
def test_the_reset_is_in_whole_seconds(now: float, reset: str) -> None:
    """The time until the reset is rounded up, and a new window begins where the old one ended."""
    window = FixedWindow(2, 60)
    assert window.take(0.0)

    assert window.take(now)
    assert window.headers(now)["RateLimit-Reset"] == reset


def test_a_window_begins_with_its_first_request() -> None:
    """Windows do not follow each other by the clock: one begins when something is asked."""
    window = FixedWindow(1, 60)
    assert window.take(0)

    assert window.take(90)  # the window from 60 never was: this one lasts until 150
    assert not window.take(149)
    assert window.headers(149) == {
        "RateLimit-Limit": "1",
        "RateLimit-Remaining": "0",
        "RateLimit-Reset": "1",
    }
    assert window.take(150)


@given(st.lists(st.floats(0, 50), max_size=60), st.integers(1, 5))
def test_no_window_takes_more_than_its_limit(pauses: list[float], limit: int) -> None:
    """However requests come, no more than the limit pass in a window, and what remains is never negative."""
    window, now, ends, passed = FixedWindow(limit, 60), 0.0, 0.0, 0
    for pause in pauses:
        now += pause
        if now >= ends:
            ends, passed = now + 60, 0
        passed += window.take(now)
        headers = window.headers(now)
        assert passed <= limit
        assert int(headers["RateLimit-Remaining"]) == limit - passed
        assert 0 < int(headers["RateLimit-Reset"]) <= 60
