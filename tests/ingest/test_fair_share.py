"""Tests of turns and memory that accounts share."""

import asyncio

import pytest
from starlette.types import Message

from prosperstack_destination.errors import Overloaded
from prosperstack_destination.ingest.fair_share import BodyMemory, FairTurns

pytestmark = pytest.mark.anyio


async def test_turns_rotate_between_accounts() -> None:
    """An account with one piece waits for one piece of another account, however many that one has."""
    turns, order = FairTurns(at_once=1), list[str]()

    async def work(account_id: str) -> None:
        async with turns.turn(account_id):
            order.append(account_id)
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as tasks:
        for account_id in ["a"] * 5 + ["b"] * 2 + ["c"]:
            tasks.create_task(work(account_id))

    assert order == ["a", "a", "b", "c", "a", "b", "a", "a"]


async def test_no_more_turns_at_once_than_there_are() -> None:
    """Work in turns never overlaps more than it may, and all of it is done."""
    turns, running, most, done = FairTurns(at_once=3), 0, 0, 0

    async def work(number: int) -> None:
        nonlocal running, most, done
        async with turns.turn(f"account {number % 4}"):
            running += 1
            most = max(most, running)
            for _ in range(number % 5):
                await asyncio.sleep(0)
            running -= 1
            done += 1

    async with asyncio.TaskGroup() as tasks:
        for number in range(100):
            tasks.create_task(work(number))

    assert (most, done) == (3, 100)


@pytest.mark.parametrize("granted", [False, True])
async def test_a_turn_that_nobody_waits_for_any_more_is_passed_on(granted: bool) -> None:
    """Cancelling who waits loses no turn, even when the turn was given at the same moment."""
    turns = FairTurns(at_once=1)
    await turns.acquire("a")
    waiting = asyncio.create_task(turns.acquire("b"))
    await asyncio.sleep(0)

    if granted:
        turns.release()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    if not granted:
        turns.release()

    async with asyncio.timeout(1):
        await turns.acquire("c")


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
