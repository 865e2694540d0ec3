"""Cache of the coverage of properties and traits, so that no page waits for a count."""

import asyncio
from collections import OrderedDict
from collections.abc import Set
from dataclasses import dataclass
from typing import Final

import structlog

from prosperstack_destination.background import cancel
from prosperstack_destination.clock import MINUTE, Clock
from prosperstack_destination.errors import DestinationError
from prosperstack_destination.mapping.coverage import Coverage, PropertyCoverage, TraitCoverage
from prosperstack_destination.reconcile.preview import coverage
from prosperstack_destination.store.database import Database

log = structlog.get_logger(__name__)

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
        await cancel(self._running.values())

    async def _count(self, account_id: str, version: int) -> None:
        try:
            async with self._scan_lock:
                found, profiles = await coverage(self._database, account_id, self._clock())
                snapshot = await asyncio.to_thread(snapshot_of, found, version, self._clock(), profiles)
        except DestinationError as error:  # the next page starts it again
            log.warning("coverage count failed", account=account_id, error=str(error))
            return
        self._snapshots[account_id] = snapshot
        self._snapshots.move_to_end(account_id)
        while len(self._snapshots) > MAX_SNAPSHOTS:
            self._snapshots.popitem(last=False)


def snapshot_of(found: Coverage, version: int, now: int, profiles: int) -> CoverageSnapshot:
    """Build a snapshot. Call it in a thread: it compares the names of all traits and properties."""
    return CoverageSnapshot(
        version, now, profiles, found.profiles, tuple(found.properties()), tuple(found.traits())
    )
