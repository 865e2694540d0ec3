"""Spending requests."""

import asyncio
from typing import Any

import pytest

from prosperstack_destination.clock import MINUTE, SECOND
from prosperstack_destination.errors import ProsperStackRateLimited, ProsperStackUnavailable
from prosperstack_destination.prosperstack.budget import RateLimit
from prosperstack_destination.reconcile.rate_limiter import MAX_RATE_LIMITED, RateLimiter
from support.clocks import VIRTUAL_TIME, LoopClock

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return VIRTUAL_TIME


class Api:
    """Answers after a while, with so many requests left."""

    def __init__(self, spender: RateLimiter, remaining: int = 99) -> None:
        self.spender = spender
        self.remaining = remaining
        self.asked = 0

    async def request(self) -> int:
        self.asked += 1
        number = self.asked
        await asyncio.sleep(0.3)
        self.remaining -= 1
        self.spender.on_answer(RateLimit(100, self.remaining, 60.0))
        return number

    async def refuse(self) -> int:
        self.asked += 1
        self.spender.on_answer(None)
        raise ProsperStackRateLimited("too many", retry_after=None)


async def test_requests_overlap_and_stay_within_the_budget() -> None:
    """Each answer is told apart from those of the requests beside it, and none is counted twice."""
    clock = LoopClock()
    spender = RateLimiter(0.1, clock.ticks)
    api = Api(spender)
    await spender.send(api.request)

    await asyncio.gather(*(spender.send(api.request, urgent=True) for _ in range(20)))

    budget = spender.budget
    assert budget.window is not None
    assert (budget.in_flight, budget.window.others_spent) == (0, 0)
    assert budget.window.limit - budget.window.base - budget.window.sent == api.remaining


async def test_a_request_without_an_answer_is_over_too() -> None:
    """A failure is no answer and no longer under way."""

    async def fail() -> None:
        raise ProsperStackUnavailable("gone")

    spender = RateLimiter(0.1, LoopClock().ticks)
    with pytest.raises(ProsperStackUnavailable):
        await spender.send(fail)

    assert spender.budget.in_flight == 0


async def test_429s_that_go_on_are_shown() -> None:
    """A rate limit that is spent is waited out in silence for some windows only: then it is an error to be seen."""
    clock = LoopClock()
    spender = RateLimiter(0.1, clock.ticks)
    api = Api(spender)

    with pytest.raises(ProsperStackRateLimited):
        await spender.send(api.refuse)

    assert api.asked == MAX_RATE_LIMITED + 1
    assert clock.ticks() > 5 * MINUTE


async def test_another_reserve_counts_at_once() -> None:
    """Who waits because too much is left to the owner goes on soon after less is left."""
    clock = LoopClock()
    spender = RateLimiter(0.9, clock.ticks)
    api = Api(spender, remaining=5)
    await spender.send(api.request)
    waiting = asyncio.create_task(spender.send(api.request))
    await asyncio.sleep(10)
    waited = not waiting.done()

    assert waited
    assert spender.set_reserve(0.0)
    assert not spender.set_reserve(0.0)
    since = clock.ticks()
    await waiting
    assert clock.ticks() - since < 20 * SECOND  # the four that are left, spread over the rest of the minute


async def test_paced_requests_take_their_time() -> None:
    """Ten requests that are not urgent are spread: at 90 a minute they take over five seconds."""
    clock = LoopClock()
    spender = RateLimiter(0.1, clock.ticks)
    api = Api(spender, remaining=100)
    for _ in range(10):
        await spender.send(api.request)

    assert 5 * SECOND < clock.ticks() < 8 * SECOND
