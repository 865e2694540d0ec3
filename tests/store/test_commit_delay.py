"""Wait of a transaction for more calls."""

import pytest

from prosperstack_destination.store.group_commit import MAX_DELAY_SECONDS, MAX_SKIPPED, CommitDelay


def arriving(per_second: float, seconds: float = 1.0, each: float = 0.003) -> CommitDelay:
    """Return the policy after transactions, one every ``each`` seconds, of calls that arrived at a rate until
    time 0.
    """
    delay = CommitDelay()
    for step in range(int(seconds / each) + 1):
        delay.record_start(round(per_second * each), -seconds + step * each)
    return delay


@pytest.mark.parametrize(
    ("per_second", "waiting", "waits"),
    [
        (0, 1, False),
        (333.4, 1, False),  # 0.7 calls in 2 ms
        (1_333.4, 1, True),  # 2.7 calls in 2 ms
        (1_333.4, 2, True),
        (1_333.4, 3, False),  # they are more than the wait would bring
        (8_000, 10, True),
        (8_000, 64, False),  # 64 connections that were answered together send together
    ],
)
def test_wait_depends_on_the_arrival_rate(per_second: float, waiting: int, waits: bool) -> None:
    """A transaction waits where at least as many calls again should arrive in that time."""
    delay = arriving(per_second)

    assert delay.seconds(waiting, 0.0) == (MAX_DELAY_SECONDS if waits else 0)


def test_rare_call_does_not_wait() -> None:
    """The first call, a call after a pause, and calls one by one do not wait."""
    assert CommitDelay().seconds(1, 0.0) == 0
    assert arriving(3_000).seconds(1, 1.0) == 0
    assert arriving(10, seconds=5.0, each=0.1).seconds(1, 0.1) == 0


def test_waits_in_vain_become_rare() -> None:
    """Waits without a further call become rare; one that brings a call makes them regular again."""
    delay = CommitDelay()
    waits = 0
    for step in range(1_000):
        now = step * 0.001
        if delay.seconds(1, now):
            waits += 1
            delay.record_wait(0)
        delay.record_start(1, now)

    assert 5 <= waits <= 7 + 1_000 / MAX_SKIPPED
    while not delay.seconds(1, 1.0):
        pass
    delay.record_wait(1)
    assert delay.seconds(1, 1.0)
