"""The rate limiter."""

import asyncio
from typing import Any

import pytest

from prosperstack_destination.clock import MINUTE, SECOND
from prosperstack_destination.errors import ProsperStackRateLimited, ProsperStackUnavailable
from prosperstack_destination.prosperstack.budget import RateLimit
from prosperstack_destination.reconcile.rate_limiter import (
    MAX_IN_FLIGHT,
    MAX_RATE_LIMITED,
    MAX_RATE_LIMITED_REQUEST,
    MIN_IN_FLIGHT,
    RateLimiter,
)
from support.clocks import VIRTUAL_TIME, LoopClock

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return VIRTUAL_TIME


class Api:
    """Responds after a delay, and reports the remaining requests."""

    def __init__(self, rate_limiter: RateLimiter, remaining: int = 99) -> None:
        self.spender = rate_limiter
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


async def test_overlapping_requests_stay_within_the_budget() -> None:
    """Each response belongs to its own request, and none is counted twice."""
    clock = LoopClock()
    rate_limiter = RateLimiter(0.1, clock.ticks)
    api = Api(rate_limiter)
    await rate_limiter.send(api.request)

    await asyncio.gather(*(rate_limiter.send(api.request, urgent=True) for _ in range(20)))

    budget = rate_limiter.budget
    assert budget.window is not None
    assert (budget.in_flight, budget.window.others_spent) == (0, 0)
    assert budget.window.limit - budget.window.base - budget.window.sent == api.remaining


async def test_failed_request_is_not_in_flight_any_more() -> None:
    """A failure reports no rate limit and ends the request."""

    async def fail() -> None:
        raise ProsperStackUnavailable("gone")

    rate_limiter = RateLimiter(0.1, LoopClock().ticks)
    with pytest.raises(ProsperStackUnavailable):
        await rate_limiter.send(fail)

    assert rate_limiter.budget.in_flight == 0


async def test_repeated_429s_become_an_error() -> None:
    """A spent rate limit is waited out for some windows; then it becomes an error."""
    clock = LoopClock()
    rate_limiter = RateLimiter(0.1, clock.ticks)
    api = Api(rate_limiter)

    with pytest.raises(ProsperStackRateLimited):
        await rate_limiter.send(api.refuse)

    assert api.asked == MAX_RATE_LIMITED + 1
    assert clock.ticks() > 5 * MINUTE


@pytest.mark.parametrize(("attempts", "asked"), [(0, MAX_RATE_LIMITED_REQUEST + 1), (1, 1), (12, 1)])
@pytest.mark.parametrize("retry_after", [None, 0.0, 7.5, 1e9])
async def test_429s_for_one_profile_fail_it_alone(attempts: int, asked: int, retry_after: float | None) -> None:
    """A 429 that comes back for one profile fails it: at once if it failed before. The account goes on."""
    rate_limiter = RateLimiter(0.1, LoopClock().ticks)
    api = Api(rate_limiter)
    refused = 0

    async def refuse() -> None:
        nonlocal refused
        refused += 1
        rate_limiter.on_answer(None)
        raise ProsperStackRateLimited("too many", retry_after=retry_after)

    with pytest.raises(ProsperStackRateLimited):
        await rate_limiter.send(refuse, kind="PATCH", subject="ann", attempts=attempts)
    await rate_limiter.send(api.request, kind="PATCH", subject="bob")

    assert refused == asked
    assert not rate_limiter.streaks.must_wait


async def test_smaller_reserve_ends_the_wait() -> None:
    """A request that waits because of the reserve goes soon after the reserve is lowered."""
    clock = LoopClock()
    rate_limiter = RateLimiter(0.9, clock.ticks)
    api = Api(rate_limiter, remaining=5)
    await rate_limiter.send(api.request)
    waiting = asyncio.create_task(rate_limiter.send(api.request))
    await asyncio.sleep(10)
    waited = not waiting.done()

    assert waited
    assert rate_limiter.set_reserve(0.0)
    assert not rate_limiter.set_reserve(0.0)
    since = clock.ticks()
    await waiting
    assert clock.ticks() - since < 20 * SECOND  # the four that are left, spread over the rest of the minute


async def test_requests_are_paced() -> None:
    """Ten requests that are not urgent are spread: at 90 a minute they take over five seconds."""
    clock = LoopClock()
    rate_limiter = RateLimiter(0.1, clock.ticks)
    api = Api(rate_limiter, remaining=100)
    for _ in range(10):
        await rate_limiter.send(api.request)

    assert 5 * SECOND < clock.ticks() < 8 * SECOND


async def test_requests_in_flight_follow_limit_and_answer_time() -> None:
    """Twice the limit times the answer time may be in flight, in bounds."""
    clock = LoopClock()
    slow, usual = RateLimiter(0.0, clock.ticks), RateLimiter(0.0, clock.ticks)

    async def answer(rate_limiter: RateLimiter, limit: int) -> None:
        await asyncio.sleep(0.3)
        rate_limiter.on_answer(RateLimit(limit, limit - 1, 60.0))

    for _ in range(60):
        await slow.send(lambda: answer(slow, 10_000), urgent=True)
    allowed = slow.max_in_flight
    for _ in range(60):
        await slow.send(lambda: answer(slow, 1_000_000), urgent=True)
    await usual.send(lambda: answer(usual, 100), urgent=True)

    assert allowed == pytest.approx(2 * 0.3 * 10_000 / 60, abs=2)
    assert (usual.max_in_flight, slow.max_in_flight) == (MIN_IN_FLIGHT, MAX_IN_FLIGHT)
