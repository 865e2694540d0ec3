"""What takes long to find out, kept."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from prosperstack_destination.admin.cache import MAX_ENTRIES, TTL_FACTOR, SlowQueryCache
from prosperstack_destination.errors import StoreUnavailable
from support.clocks import SetClock

pytestmark = pytest.mark.anyio


class Slow:
    """Finds out how often it was asked; each time takes as long as a test has it."""

    def __init__(self, clock: SetClock) -> None:
        self.clock = clock
        self.asked = 0
        self.takes_seconds = 0.0
        self.may_end = asyncio.Event()
        self.may_end.set()
        self.error: Exception | None = None

    async def find(self, key: str) -> str:
        self.asked += 1
        number = self.asked
        await self.may_end.wait()
        self.clock.advance(self.takes_seconds)
        if self.error is not None:
            raise self.error
        return f"{key} {number}"


@pytest.fixture
def slow(clock: SetClock) -> Slow:
    return Slow(clock)


@pytest.fixture
async def kept(slow: Slow, clock: SetClock) -> AsyncIterator[SlowQueryCache[str]]:
    kept = SlowQueryCache(slow.find, clock)
    yield kept
    await kept.close()


async def test_fast_query_is_not_cached(kept: SlowQueryCache[str]) -> None:
    """The result of a fast query is never cached."""
    assert [await kept.latest("a") for _ in range(3)] == ["a 1", "a 2", "a 3"]


async def test_slow_query_is_cached(kept: SlowQueryCache[str], slow: Slow, clock: SetClock) -> None:
    """The result of a slow query is cached for a multiple of its duration, then refreshed."""
    slow.takes_seconds = 1.0
    assert [await kept.latest("a") for _ in range(3)] == ["a 1"] * 3
    clock.advance(TTL_FACTOR * 1.0)
    slow.may_end.clear()

    assert [await kept.latest("a") for _ in range(3)] == ["a 1"] * 3
    assert slow.asked == 2
    slow.may_end.set()
    assert await kept.latest("a") == "a 2"


async def test_first_result_is_waited_for(kept: SlowQueryCache[str], slow: Slow) -> None:
    """Without a cached result, `get_or_wait` waits and `latest` returns None; one query runs."""
    slow.may_end.clear()
    assert await kept.latest("a") is None
    waiting = asyncio.create_task(kept.get_or_wait("a"))
    assert await kept.latest("a") is None
    slow.may_end.set()

    assert await waiting == "a 1"


async def test_error_is_not_cached(kept: SlowQueryCache[str], slow: Slow) -> None:
    """Waiting callers get the query's error; the next caller runs it again."""
    slow.error = StoreUnavailable("no database", retry_after=1)
    with pytest.raises(StoreUnavailable):
        await kept.get_or_wait("a")
    slow.error = None

    assert await kept.get_or_wait("a") == "a 2"


async def test_oldest_result_is_dropped(kept: SlowQueryCache[str], slow: Slow) -> None:
    """The oldest result is dropped when the cache is full."""
    slow.takes_seconds = 0.05
    for number in range(MAX_ENTRIES + 1):
        await kept.latest(str(number))

    assert await kept.latest(str(MAX_ENTRIES)) == f"{MAX_ENTRIES} {MAX_ENTRIES + 1}"
    assert await kept.latest("0") == f"0 {MAX_ENTRIES + 2}"


async def test_close_cancels_running_queries(kept: SlowQueryCache[str], slow: Slow) -> None:
    """Closing cancels the running queries."""
    slow.may_end.clear()
    assert await kept.latest("a") is None
    await kept.close()
    slow.may_end.set()

    assert await kept.latest("a") == "a 2"
