"""Caches: entries with a time to live, values that are read again, and results of slow queries."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from prosperstack_destination.caches import (
    MAX_ENTRIES,
    TTL_FACTOR,
    CachedRead,
    RefreshingValue,
    SlowQueryCache,
    TtlCache,
)
from prosperstack_destination.clock import SECOND
from prosperstack_destination.errors import StoreUnavailable
from support.clocks import SetClock

pytestmark = pytest.mark.anyio

OLDEST = 2 * SECOND


def test_entry_expires(clock: SetClock) -> None:
    """An entry is returned until the end of its life; after the clock was set back it has expired too."""
    cache: TtlCache[str, int] = TtlCache(OLDEST, 10, clock)
    cache.put("a", 1)
    clock.now += OLDEST
    last = cache.get("a")
    clock.now += 1
    assert (last, cache.get("a")) == (1, None)

    cache.put("a", 2)
    clock.now -= 1
    assert cache.get("a") is None


def test_oldest_entry_is_dropped(clock: SetClock) -> None:
    """Beyond its size the cache drops the entry that was stored first; a repeated key counts as new."""
    cache: TtlCache[str, int] = TtlCache(OLDEST, 2, clock)
    for key in ("a", "b", "a", "c"):
        cache.put(key, 1)

    assert [cache.get(key) for key in ("a", "b", "c")] == [1, None, 1]


def test_removed_entries_are_gone(clock: SetClock) -> None:
    """Entries are removed one by one, by age, or all at once."""
    cache: TtlCache[str, int] = TtlCache(OLDEST, 10, clock)
    cache.put("old", 1)
    clock.now += OLDEST + 1
    for key in ("a", "b"):
        cache.put(key, 1)
    cache.remove_expired()
    cache.remove("a")
    cache.remove("a")
    clock.now -= 1  # at which the expired one would be fresh again
    assert [cache.get(key) for key in ("old", "a")] == [None, None]
    clock.now += 1
    assert cache.get("b") == 1
    cache.clear()
    assert cache.get("b") is None


async def test_value_is_read_at_its_age(clock: SetClock) -> None:
    """A value is read when it is as old as the caller accepts, is invalidated, or the clock was set back."""
    source = NumberSource()
    value = CachedRead(source.read, clock)
    assert [await value.get(OLDEST) for _ in range(2)] == [1, 1]
    clock.now += OLDEST - 1
    assert await value.get(OLDEST) == 1
    assert await value.get(OLDEST - 1) == 2
    value.invalidate()
    assert await value.get(OLDEST) == 3
    clock.now -= 1
    assert await value.get(OLDEST) == 4


async def test_concurrent_callers_share_a_read(clock: SetClock) -> None:
    """Callers that arrive during a read wait for it."""
    source = NumberSource()
    value = CachedRead(source.read, clock)

    assert await asyncio.gather(*(value.get(OLDEST) for _ in range(3))) == [1, 1, 1]


class NumberSource:
    """Source of a number that grows by one with each read."""

    def __init__(self) -> None:
        self.number = 0
        self.free = asyncio.Event()
        self.free.set()
        self.fault: Exception | None = None

    async def read(self) -> int:
        """Return the number, once it may be read."""
        self.number += 1
        number = self.number
        await self.free.wait()
        if self.fault is not None:
            raise self.fault
        return number


@pytest.fixture
def source() -> NumberSource:
    return NumberSource()


@pytest.fixture
def value(source: NumberSource, clock: SetClock) -> RefreshingValue[int]:
    return RefreshingValue("a number", source.read, clock)


async def test_value_is_refreshed_in_background(
    value: RefreshingValue[int], source: NumberSource, clock: SetClock
) -> None:
    """From half its age a value is refreshed once in the background, and replaced when the read ends."""
    assert await value.get(OLDEST) == 1
    source.free.clear()
    clock.now += OLDEST // 2 - 1
    assert await value.get(OLDEST) == 1
    assert not value.is_refreshing
    clock.now += 1
    assert [await value.get(OLDEST) for _ in range(3)] == [1, 1, 1]
    source.free.set()
    await value.close()

    assert await value.get(OLDEST) == 2
    assert source.number == 2


async def test_expired_value_is_read_again(value: RefreshingValue[int], clock: SetClock) -> None:
    """An expired value is not used while the database answers, nor one read before the clock was set back."""
    assert await value.get(OLDEST) == 1
    clock.now += OLDEST
    assert await value.get(OLDEST) == 2
    clock.now -= 1
    assert await value.get(OLDEST) == 3


@pytest.mark.parametrize("fault", [StoreUnavailable("away", retry_after=1), ZeroDivisionError()])
async def test_failed_read_keeps_old_value(
    value: RefreshingValue[int], source: NumberSource, clock: SetClock, fault: Exception
) -> None:
    """The old value stays in use if the read fails; without one, the error is raised."""
    source.fault = fault
    with pytest.raises(StoreUnavailable, match="does not answer"):
        await value.get(OLDEST)
    source.fault = None
    assert await value.get(OLDEST) == 2
    source.fault = fault
    clock.now += OLDEST
    assert await value.get(OLDEST) == 2


class SlowQuery:
    """Query that counts its runs and takes a set time."""

    def __init__(self, clock: SetClock) -> None:
        self.clock = clock
        self.runs = 0
        self.takes_seconds = 0.0
        self.may_end = asyncio.Event()
        self.may_end.set()
        self.error: Exception | None = None

    async def run(self, key: str) -> str:
        self.runs += 1
        number = self.runs
        await self.may_end.wait()
        self.clock.advance(self.takes_seconds)
        if self.error is not None:
            raise self.error
        return f"{key} {number}"


@pytest.fixture
def slow(clock: SetClock) -> SlowQuery:
    return SlowQuery(clock)


@pytest.fixture
async def results(slow: SlowQuery, clock: SetClock) -> AsyncIterator[SlowQueryCache[str]]:
    results = SlowQueryCache(slow.run, clock)
    yield results
    await results.close()


async def test_fast_query_is_not_cached(results: SlowQueryCache[str]) -> None:
    """The result of a fast query is never cached."""
    assert [await results.latest("a") for _ in range(3)] == ["a 1", "a 2", "a 3"]


async def test_slow_query_is_cached(results: SlowQueryCache[str], slow: SlowQuery, clock: SetClock) -> None:
    """The result of a slow query is cached for a multiple of its duration, then refreshed."""
    slow.takes_seconds = 1.0
    assert [await results.latest("a") for _ in range(3)] == ["a 1"] * 3
    clock.advance(TTL_FACTOR * 1.0)
    slow.may_end.clear()

    assert [await results.latest("a") for _ in range(3)] == ["a 1"] * 3
    assert slow.runs == 2
    slow.may_end.set()
    assert await results.latest("a") == "a 2"


async def test_first_result_is_waited_for(results: SlowQueryCache[str], slow: SlowQuery) -> None:
    """Without a cached result, `get_or_wait` waits and `latest` returns None; one query runs."""
    slow.may_end.clear()
    assert await results.latest("a") is None
    waiting = asyncio.create_task(results.get_or_wait("a"))
    assert await results.latest("a") is None
    slow.may_end.set()

    assert await waiting == "a 1"


async def test_error_is_not_cached(results: SlowQueryCache[str], slow: SlowQuery) -> None:
    """Waiting callers get the query's error; the next caller runs it again."""
    slow.error = StoreUnavailable("no database", retry_after=1)
    with pytest.raises(StoreUnavailable):
        await results.get_or_wait("a")
    slow.error = None

    assert await results.get_or_wait("a") == "a 2"


async def test_oldest_result_is_dropped(results: SlowQueryCache[str], slow: SlowQuery) -> None:
    """The oldest result is dropped when the cache is full."""
    slow.takes_seconds = 0.05
    for number in range(MAX_ENTRIES + 1):
        await results.latest(str(number))

    assert await results.latest(str(MAX_ENTRIES)) == f"{MAX_ENTRIES} {MAX_ENTRIES + 1}"
    assert await results.latest("0") == f"0 {MAX_ENTRIES + 2}"


async def test_close_cancels_running_queries(results: SlowQueryCache[str], slow: SlowQuery) -> None:
    """Closing cancels the running queries."""
    slow.may_end.clear()
    assert await results.latest("a") is None
    await results.close()
    slow.may_end.set()

    assert await results.latest("a") == "a 2"
