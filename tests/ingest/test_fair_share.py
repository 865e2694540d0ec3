"""Tests of turns and memory that accounts share."""

import asyncio

import pytest
from starlette.types import Message

from prosperstack_destination.errors import Overloaded
from prosperstack_destination.ingest.fair_share import BodyMemory, FairTurns

pytestmark = pytest.mark.anyio


async def test_turns_rotate_between_accounts() -> None:
    """An account with one piece waits for one piece of another account, however many that one has."""
    turns, order = FairTurns(lambda: 1), list[str]()

    async def work(account_id: str) -> None:
        async with turns.turn(account_id, 1):
            order.append(account_id)
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as tasks:
        for account_id in ["a"] * 5 + ["b"] * 2 + ["c"]:
            tasks.create_task(work(account_id))

    assert order == ["a", "a", "b", "c", "a", "b", "a", "a"]


async def test_turns_at_once_fit_into_the_capacity() -> None:
    """Work in turns never overlaps more than it may; a turn beyond the capacity comes alone; all of it is done."""
    turns, running, done = FairTurns(lambda: 10), list[int](), 0

    async def work(number: int) -> None:
        nonlocal done
        size = 30 if number % 20 == 0 else number % 7 + 1
        async with turns.turn(f"account {number % 4}", size):
            running.append(size)
            assert sum(running) <= 10 or running == [size]
            for _ in range(number % 5):
                await asyncio.sleep(0)
            running.remove(size)
            done += 1

    async with asyncio.TaskGroup() as tasks:
        for number in range(100):
            tasks.create_task(work(number))

    assert done == 100


async def test_a_large_turn_is_not_overtaken() -> None:
    """While an account waits for more than is free, smaller turns of others wait behind it."""
    turns, order = FairTurns(lambda: 10), list[str]()

    async def work(account_id: str, size: int) -> None:
        async with turns.turn(account_id, size):
            order.append(account_id)
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as tasks:
        for account_id, size in (("a", 6), ("b", 6), ("c", 1)):
            tasks.create_task(work(account_id, size))

    assert order == ["a", "b", "c"]


@pytest.mark.parametrize("granted", [False, True])
async def test_a_turn_that_nobody_waits_for_any_more_is_passed_on(granted: bool) -> None:
    """Cancelling who waits loses no turn, even when the turn was given at the same moment."""
    turns, ended = FairTurns(lambda: 1), asyncio.Event()

    async def take(until: asyncio.Event | None = None) -> None:
        async with turns.turn("a", 1):
            if until is not None:
                await until.wait()

    first = asyncio.create_task(take(ended))
    await asyncio.sleep(0)
    waiting = asyncio.create_task(take())
    await asyncio.sleep(0)

    if granted:
        ended.set()
        await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    ended.set()
    await first

    async with asyncio.timeout(1):
        await take()


async def read(memory: BodyMemory, account_id: str, *sizes: int, inflated: int = 0) -> None:
    pieces = iter(sizes)

    async def receive() -> Message:
        return {"type": "http.request", "body": bytes(next(pieces)), "more_body": True}

    with memory.track(account_id, receive) as counted:
        for _ in sizes:
            await counted.receive()
        counted.decompressed(inflated)


async def test_memory_of_bodies_is_bounded() -> None:
    """An account may fill a share and no more; what an answered request held is free again."""
    memory = BodyMemory(100)

    with pytest.raises(Overloaded):
        await read(memory, "a", 50, 30)
    for _ in range(3):
        await read(memory, "a", 50, 20)
    with pytest.raises(Overloaded):
        await read(memory, "a", 10, inflated=76)
    await read(memory, "a", 50, 20, inflated=75)


async def test_one_account_leaves_memory_to_others() -> None:
    """While one account holds all that it may, another account's body has room, until all of it is held."""
    memory, parked = BodyMemory(100), asyncio.Event()

    async def receive() -> Message:
        return {"type": "http.request", "body": bytes(75), "more_body": True}

    async def hold() -> None:
        with memory.track("a", receive) as counted:
            await counted.receive()
            await parked.wait()

    holding = asyncio.create_task(hold())
    await asyncio.sleep(0)

    with pytest.raises(Overloaded):
        await read(memory, "a", 1)
    await read(memory, "b", 10, 15)
    with pytest.raises(Overloaded):
        await read(memory, "b", 10, 16)
    parked.set()
    await holding
