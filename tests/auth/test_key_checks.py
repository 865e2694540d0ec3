"""Turns of the checks of unknown keys, in virtual time."""

import asyncio
from typing import Any

import pytest

from prosperstack_destination.auth.key_checks import CHECKS_PER_SECOND, MAX_WAITING, TURN_SECONDS, KeyCheckLimiter
from prosperstack_destination.errors import KeyUnverified
from support.clocks import VIRTUAL_TIME

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> Any:
    return VIRTUAL_TIME


async def flood(limiter: KeyCheckLimiter, *groups: str) -> None:
    """Request turns without end: each network for as many as may wait."""

    async def ask(group: str) -> None:
        while True:
            try:
                await limiter.turn(group)
            except KeyUnverified:
                await asyncio.sleep(0.01)

    async with asyncio.TaskGroup() as tasks:
        for group in groups * (MAX_WAITING + 1):
            tasks.create_task(ask(group))


async def test_checks_are_spaced() -> None:
    """The first check starts at once, the others follow at the rate limit."""
    limiter, begun = KeyCheckLimiter(), asyncio.get_running_loop().time()

    await asyncio.gather(*(limiter.turn(f"network {n}") for n in range(CHECKS_PER_SECOND + 1)))

    assert asyncio.get_running_loop().time() - begun == pytest.approx(1.0)


async def test_too_many_waiting_checks_are_refused() -> None:
    """A network with the maximum of waiting checks is refused at once."""
    limiter = KeyCheckLimiter()
    waiting = [asyncio.create_task(limiter.turn("network")) for _ in range(MAX_WAITING)]
    await asyncio.sleep(0)

    with pytest.raises(KeyUnverified) as caught:
        await limiter.turn("network")

    assert caught.value.retry_after > 0
    await asyncio.gather(*waiting)


async def test_new_network_is_next_during_a_flood() -> None:
    """While 30 networks flood, more than can get a turn in time, a network without a turn yet is next."""
    limiter = KeyCheckLimiter()
    flooding = asyncio.create_task(flood(limiter, *(f"network {n}" for n in range(30))))
    await asyncio.sleep(30 / CHECKS_PER_SECOND)  # each of them has had a turn

    begun = asyncio.get_running_loop().time()
    await limiter.turn("newcomer")

    assert asyncio.get_running_loop().time() - begun <= 1 / CHECKS_PER_SECOND + 0.001
    flooding.cancel()
    await asyncio.gather(flooding, return_exceptions=True)


async def test_check_without_a_turn_is_refused() -> None:
    """Where more networks wait than there are turns, the ones without a turn are refused for a while."""
    limiter, begun = KeyCheckLimiter(), asyncio.get_running_loop().time()
    every = [limiter.turn(f"network {n}") for n in range(100)]

    results = await asyncio.gather(*every, return_exceptions=True)

    assert asyncio.get_running_loop().time() - begun == pytest.approx(TURN_SECONDS)
    served = sum(each is None for each in results)
    assert abs(served - TURN_SECONDS * CHECKS_PER_SECOND) <= 1
    assert sum(isinstance(each, KeyUnverified) for each in results) == 100 - served
