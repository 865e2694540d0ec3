"""Caches of what takes longer than a page may wait: slow queries, and the coverage of properties and traits."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Set
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import structlog

from prosperstack_destination.clock import MINUTE, SECOND, Clock
from prosperstack_destination.errors import DestinationError
from prosperstack_destination.mapping.coverage import Coverage, PropertyCoverage, TraitCoverage
from prosperstack_destination.reconcile.coverage_scan import coverage
from prosperstack_destination.store.database import Database

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


#: Age at which a snapshot is counted again, in microseconds.
COVERAGE_TTL: Final = 1 * MINUTE
#: Accounts whose snapshot is cached.
MAX_SNAPSHOTS: Final = 32


@dataclass(frozen=True, slots=True)
class CoverageSnapshot:
    """Coverage of an account's properties and traits at one time."""

    #: Mapping version under which it was counted.
    version: int
    #: Time of the count, in microseconds since the epoch.
    at: int
    #: Number of the account's profiles, and number of those that were counted.
    profiles: int
    counted: int
    properties: tuple[PropertyCoverage, ...]
    #: Most frequent first.
    traits: tuple[TraitCoverage, ...]


class CoverageCache:
    """The latest coverage of each account. ``scan_lock`` is held during a count, as during other scans."""

    def __init__(self, database: Database, clock: Clock, scan_lock: asyncio.Lock) -> None:
        self._database = database
        self._clock = clock
        self._scan_lock = scan_lock
        self._snapshots: OrderedDict[str, CoverageSnapshot] = OrderedDict()
        self._running: dict[str, asyncio.Task[None]] = {}

    def latest(self, account_id: str, version: int) -> tuple[CoverageSnapshot | None, bool]:
        """Return the latest snapshot, and whether a count is running.

        A count starts if the snapshot is missing, old, or of another mapping version.
        """
        snapshot = self._snapshots.get(account_id)
        is_fresh = (
            snapshot is not None and snapshot.version == version and self._clock() - snapshot.at < COVERAGE_TTL
        )
        if not is_fresh and account_id not in self._running:
            task = asyncio.create_task(self._count(account_id, version))
            self._running[account_id] = task
            task.add_done_callback(lambda _: self._running.pop(account_id, None))
        return snapshot, account_id in self._running

    @property
    def running(self) -> Set[str]:
        """IDs of the accounts that are being counted."""
        return self._running.keys()

    async def close(self) -> None:
        """Cancel the running counts."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _count(self, account_id: str, version: int) -> None:
        try:
            async with self._scan_lock:
                found, profiles = await coverage(self._database, account_id)
                snapshot = await asyncio.to_thread(_snapshot, found, version, self._clock(), profiles)
        except DestinationError as error:  # the next page starts it again
            log.warning("coverage count failed", account=account_id, error=str(error))
            return
        self._snapshots[account_id] = snapshot
        self._snapshots.move_to_end(account_id)
        while len(self._snapshots) > MAX_SNAPSHOTS:
            self._snapshots.popitem(last=False)


def _snapshot(found: Coverage, version: int, now: int, profiles: int) -> CoverageSnapshot:
    """Build a snapshot. Call it in a thread: it compares the names of all traits and properties."""
    return CoverageSnapshot(
        version, now, profiles, found.profiles, tuple(found.properties()), tuple(found.traits())
    )
