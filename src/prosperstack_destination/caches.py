"""Caches: entries with a time to live, values that are read again, and results of slow queries.

Wall clocks may be set back: then no entry counts as fresh for longer than its time to live.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import structlog

from prosperstack_destination.background import cancel
from prosperstack_destination.clock import SECOND, Clock
from prosperstack_destination.errors import DestinationError, StoreUnavailable

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")

log = structlog.get_logger(__name__)

#: Time to wait for a refresh before the old value is used, in seconds.
REFRESH_TIMEOUT: Final = 0.05
#: Time to wait for the first read, in seconds.
FIRST_READ_TIMEOUT: Final = 0.25
#: Time limit of a fast query, in seconds: its result is never cached, and the caller waits for it.
FAST_QUERY: Final = 0.02
#: A result is fresh for this many times as long as its query took, so queries are a small part of the load.
TTL_FACTOR: Final = 20
#: Upper bound of that time, in microseconds.
MAX_TTL: Final = 60 * SECOND
#: Results kept at most; the oldest is dropped first.
MAX_ENTRIES: Final = 64


class TtlCache(Generic[K, T]):
    """Entries with a time to live, in microseconds. The oldest entry is dropped beyond ``max_entries``."""

    def __init__(self, ttl: int, max_entries: int, clock: Clock) -> None:
        self._ttl = ttl
        self._max_entries = max_entries
        self._clock = clock
        #: End of its life, and the entry.
        self._entries: OrderedDict[K, tuple[int, T]] = OrderedDict()

    def get(self, key: K) -> T | None:
        """Return the entry of a key; None if there is none, or it has expired."""
        entry = self._entries.get(key)
        return entry[1] if entry is not None and self._is_fresh(entry[0]) else None

    def put(self, key: K, value: T) -> T:
        """Store an entry, and return it. Replaces the previous one of the key."""
        self._entries[key] = self._clock() + self._ttl, value
        self._entries.move_to_end(key)
        while len(self._entries) > self._max_entries:
            self._entries.popitem(last=False)
        return value

    def remove(self, key: K) -> None:
        """Drop the entry of a key. Safe to repeat."""
        self._entries.pop(key, None)

    def clear(self) -> None:
        """Drop all entries."""
        self._entries.clear()

    def remove_expired(self) -> None:
        """Drop all expired entries, where their content must not stay in memory."""
        for key, (until, _) in list(self._entries.items()):
            if not self._is_fresh(until):
                del self._entries[key]

    def _is_fresh(self, until: int) -> bool:
        return 0 <= until - self._clock() <= self._ttl


class CachedRead(Generic[T]):
    """One value that is read when it is older than its caller accepts. Concurrent callers share one read."""

    def __init__(self, read: Callable[[], Awaitable[T]], clock: Clock) -> None:
        self._read = read
        self._clock = clock
        #: Time of the read, and the value.
        self._last: tuple[int, T] | None = None
        self._reading = asyncio.Lock()

    async def get(self, max_age: int) -> T:
        """Return the value, less than ``max_age`` microseconds old."""
        async with self._reading:
            now = self._clock()
            if self._last is None or not 0 <= now - self._last[0] < max_age:
                self._last = now, await self._read()
            return self._last[1]

    def invalidate(self) -> None:
        """Read the value again for the next caller."""
        self._last = None


class RefreshingValue(Generic[T]):
    """Refresh-ahead cache of a value in the database, for requests that must not wait.

    While it is read often, it is refreshed in the background before it expires. After a pause the caller waits for
    a refresh. ``name`` is for the log.
    """

    def __init__(self, name: str, read: Callable[[], Awaitable[T]], clock: Clock) -> None:
        self._name = name
        self._read = read
        self._clock = clock
        #: Time of the read, and the value.
        self._last: tuple[int, T] | None = None
        self._refresh: asyncio.Task[None] | None = None

    async def get(self, max_age: int) -> T:
        """Return the value, at most ``max_age`` microseconds old, or an older one if the database is slow or
        unavailable.

        Raises `StoreUnavailable` if it was never read and is not within `FIRST_READ_TIMEOUT`.
        """
        if not self._is_younger(max_age // 2):
            refresh = self._start_refresh()
            if not self._is_younger(max_age):
                await asyncio.wait([refresh], timeout=FIRST_READ_TIMEOUT if self._last is None else REFRESH_TIMEOUT)
        if self._last is None:
            raise StoreUnavailable("The database does not answer; call again.", retry_after=1)
        return self._last[1]

    @property
    def is_refreshing(self) -> bool:
        """True while a refresh is running."""
        return self._refresh is not None and not self._refresh.done()

    async def close(self) -> None:
        """Wait for the running refresh."""
        if self._refresh is not None:
            await asyncio.wait([self._refresh])

    def _is_younger(self, age: int) -> bool:
        return self._last is not None and 0 <= self._clock() - self._last[0] < age

    def _start_refresh(self) -> "asyncio.Task[None]":
        """Start a refresh, or return the running one."""
        if self._refresh is None or self._refresh.done():
            self._refresh = asyncio.create_task(self._read_value(), name=self._name)
        return self._refresh

    async def _read_value(self) -> None:
        now = self._clock()
        try:
            value = await self._read()
        except StoreUnavailable as error:
            log.warning("cache refresh failed; using the old value", what=self._name, reason=str(error))
        except Exception:  # a bug: logged here, since no caller awaits the task
            log.exception("cache refresh failed; using the old value", what=self._name)
        else:
            self._last = now, value


@dataclass(frozen=True, slots=True)
class _CachedResult(Generic[T]):
    value: T
    #: End of its freshness, by the monotonic clock.
    until: int


class SlowQueryCache(Generic[T]):
    """Stale-while-revalidate cache of queries that take longer than a page may wait: the latest result by key.

    ``query`` computes the result of a key. ``ticks`` is a monotonic clock in microseconds.
    """

    def __init__(self, query: Callable[[str], Awaitable[T]], ticks: Clock) -> None:
        self._query = query
        self._ticks = ticks
        self._results: OrderedDict[str, _CachedResult[T]] = OrderedDict()
        self._running: dict[str, asyncio.Task[T]] = {}

    async def latest(self, key: str) -> T | None:
        """Return the result if the query is fast, else the cached one, and refresh it in the background.

        Returns None if no result is cached yet. Raises the query's error if the query is fast.
        """
        cached = self._results.get(key)
        if cached is not None and self._ticks() < cached.until:
            return cached.value
        task = self._start(key)
        done, _ = await asyncio.wait([task], timeout=FAST_QUERY)
        if done:
            return task.result()
        return None if cached is None else cached.value

    async def get_or_wait(self, key: str) -> T:
        """Return the latest result; wait for the query if none is cached. Raises the query's error."""
        cached = await self.latest(key)
        return await asyncio.shield(self._start(key)) if cached is None else cached

    async def close(self) -> None:
        """Cancel the running queries."""
        await cancel(self._running.values())

    def _start(self, key: str) -> asyncio.Task[T]:
        """Start the query of a key, or return the one that is running."""
        task = self._running.get(key)
        if task is None:
            task = self._running[key] = asyncio.create_task(self._run(key))
            task.add_done_callback(lambda done: self._finish(key, done))
        return task

    async def _run(self, key: str) -> T:
        started_at = self._ticks()
        value = await self._query(key)
        now = self._ticks()
        took = now - started_at
        if took > FAST_QUERY * SECOND:
            self._results[key] = _CachedResult(value, now + min(TTL_FACTOR * took, MAX_TTL))
            self._results.move_to_end(key)
            while len(self._results) > MAX_ENTRIES:
                self._results.popitem(last=False)
        else:
            self._results.pop(key, None)
        return value

    def _finish(self, key: str, task: asyncio.Task[T]) -> None:
        self._running.pop(key, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            if not isinstance(error, DestinationError):
                log.error("cached query failed", error=type(error).__name__)
            else:
                log.warning("cached query failed; the next caller retries it", error=str(error))
