"""Which calls people get to see."""

from collections import Counter

from prosperstack_destination.clock import SECOND
from prosperstack_destination.observability.telemetry import (
    ACCEPTED_PER_SECOND,
    BURST_SECONDS,
    REFUSED_PER_SECOND,
    CallSampler,
    TokenBucket,
)
from prosperstack_destination.store.recent_calls import CallOutcome
from support.clocks import SetClock


def test_what_is_seen_of_a_flood() -> None:
    """A flood of one account is seen at once to half of what may be, then at so many a second."""
    allowance = TokenBucket(10)
    at_once = sum(allowance.take("a", 0) for _ in range(10_000))
    later = sum(allowance.take("a", millisecond * 1_000) for millisecond in range(60_000))

    assert at_once == 10 * BURST_SECONDS / 2
    assert 10 * 60 - 10 <= later <= 10 * 60 + 10


def test_nobody_crowds_out_others() -> None:
    """While one account floods, another's single calls are all seen."""
    allowance = TokenBucket(10)
    seen = Counter[str]()
    for millisecond in range(60_000):
        for account in ["flood"] * 3 + (["quiet"] if millisecond % 1_000 == 500 else []):
            seen[account] += allowance.take(account, millisecond * 1_000)

    assert seen["quiet"] == 60
    assert seen["flood"] <= 10 * (60 + BURST_SECONDS / 2)


def test_ten_floods_leave_room_for_one_more() -> None:
    """As many accounts may flood as there are calls a second: who comes besides is seen."""
    allowance = TokenBucket(10)
    seen = Counter[str]()
    for millisecond in range(120_000):
        for account in [*map(str, range(9)), *(["quiet"] if millisecond % 2_000 == 700 else [])]:
            seen[account] += allowance.take(account, millisecond * 1_000)

    assert seen["quiet"] == 60


def test_what_is_seen_of_a_flood_of_everybody() -> None:
    """However many accounts there are, no more is seen at once than may be, and then so many a second."""
    allowance = TokenBucket(10)
    at_once = sum(allowance.take(str(account), 0) for account in range(10_000))
    later = sum(allowance.take(str(account), SECOND) for account in range(10_000))

    assert (at_once, later) == (10 * BURST_SECONDS, 10)


def test_what_is_refused_has_room_of_its_own() -> None:
    """However many calls are accepted, those that are refused are seen."""
    sample = CallSampler(SetClock(0))
    accepted = sum(sample.should_sample("a", CallOutcome.ACCEPTED) for _ in range(100_000))
    refused = sum(sample.should_sample("a", CallOutcome.REFUSED) for _ in range(100_000))

    assert (accepted, refused) == (
        ACCEPTED_PER_SECOND * BURST_SECONDS / 2,
        REFUSED_PER_SECOND * BURST_SECONDS / 2,
    )


def test_every_fate_has_room() -> None:
    """Whatever becomes of a call, it may be seen."""
    sample = CallSampler(SetClock(SECOND))

    assert all(sample.should_sample("a", fate) for fate in CallOutcome)
