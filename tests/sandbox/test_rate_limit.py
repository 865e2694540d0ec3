"""Tests of the fixed window, at chosen times."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prosperstack_destination.sandbox.account import FixedWindow


@pytest.mark.parametrize(("now", "reset"), [(0.0, "60"), (0.5, "60"), (59.5, "1"), (60.0, "60")])
def test_reset_is_in_whole_seconds(now: float, reset: str) -> None:
    """The time until the reset is rounded up, and a new window begins at the end of the old one."""
    window = FixedWindow(2, 60)
    assert window.take(0.0)

    assert window.take(now)
    assert window.headers(now)["RateLimit-Reset"] == reset


def test_window_begins_with_its_first_request() -> None:
    """A window begins with a request, not at a fixed time."""
    window = FixedWindow(1, 60)
    assert window.take(0)

    assert window.take(90)  # no window begins at 60: this one lasts until 150
    assert not window.take(149)
    assert window.headers(149) == {
        "RateLimit-Limit": "1",
        "RateLimit-Remaining": "0",
        "RateLimit-Reset": "1",
    }
    assert window.take(150)


@given(st.lists(st.floats(0, 50), max_size=60), st.integers(1, 5))
def test_window_never_exceeds_its_limit(pauses: list[float], limit: int) -> None:
    """For any timing, at most the limit passes in a window, and the remainder is never negative."""
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
