"""Stale-while-revalidate cache for queries that take longer than a page may wait."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import structlog

from prosperstack_destination.clock import SECOND, Clock
from prosperstack_destination.errors import DestinationError

T = TypeVar("T")

log = structlog.get_logger(__name__)

#: Time limit, in seconds. A result that is ready within it is never cached: the caller waits for it.
FAST_QUERY: Final = 0.02
#: A result is fresh for this many times as long as its query took, so queries are a small part of the load.
TTL_FACTOR: Final = 20
#: Upper bound of that time, in microseconds.
MAX_TTL: Final = 60 * SECOND
#: Results kept at most; the oldest is dropped first.
MAX_ENTRIES: Final = 64


@dataclass(frozen=True, slots=True)
class _CachedResult(Generic[T]):
    value: T
    #: End of its freshness, by the monotonic clock.
    until: int


class SlowQueryCache(Generic[T]):
    """The latest result of a slow query, by key.

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
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

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
