"""Coverage that pages show: counted in the background, and kept, so that no page waits for it."""

import asyncio
from collections import OrderedDict
from collections.abc import Set
from dataclasses import dataclass
from typing import Final

import structlog

from prosperstack_destination.clock import MINUTE, Clock
from prosperstack_destination.errors import DestinationError
from prosperstack_destination.mapping.coverage import Coverage, PropertyCoverage, TraitCoverage
from prosperstack_destination.reconcile.coverage_scan import coverage
from prosperstack_destination.store.database import Database

log = structlog.get_logger(__name__)

#: How long a count is good for, in microseconds.
FRESH: Final = 1 * MINUTE
#: Accounts whose count is kept.
KEPT: Final = 32


@dataclass(frozen=True, slots=True)
class CoverageSnapshot:
    """What feeds what, as counted at a time."""

    #: The version of the mapping under which it was counted.
    version: int
    #: When that was done, in microseconds since the epoch.
    at: int
    #: How many profiles the account has, and how many of them were counted.
    profiles: int
    counted: int
    properties: tuple[PropertyCoverage, ...]
    #: The most frequent first.
    traits: tuple[TraitCoverage, ...]


class CoverageCache:
    """The counts of a process. ``scanning`` is held while one is made: others go through all profiles as well."""

    def __init__(self, database: Database, clock: Clock, scanning: asyncio.Lock) -> None:
        self._database = database
        self._clock = clock
        self._scanning = scanning
        self._counted: OrderedDict[str, CoverageSnapshot] = OrderedDict()
        self._under_way: dict[str, asyncio.Task[None]] = {}

    def latest(self, account_id: str, version: int) -> tuple[CoverageSnapshot | None, bool]:
        """What was counted last, and whether it is being counted.

        It is counted anew if that is old, or was under another version of the mapping.
        """
        found = self._counted.get(account_id)
        good = found is not None and found.version == version and self._clock() - found.at < FRESH
        if not good and account_id not in self._under_way:
            task = asyncio.create_task(self._count(account_id, version))
            self._under_way[account_id] = task
            task.add_done_callback(lambda _: self._under_way.pop(account_id, None))
        return found, account_id in self._under_way

    @property
    def under_way(self) -> Set[str]:
        """The accounts that are being counted."""
        return self._under_way.keys()

    async def close(self) -> None:
        """Break off what is being counted."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _count(self, account_id: str, version: int) -> None:
        try:
            async with self._scanning:
                found, profiles = await coverage(self._database, account_id)
                counted = await asyncio.to_thread(_counted, found, version, self._clock(), profiles)
        except DestinationError as error:  # the next who asks has it counted
            log.warning("coverage was not counted", account=account_id, error=str(error))
            return
        self._counted[account_id] = counted
        self._counted.move_to_end(account_id)
        while len(self._counted) > KEPT:
            self._counted.popitem(last=False)


def _counted(found: Coverage, version: int, now: int, profiles: int) -> CoverageSnapshot:
    """To be called in a thread: it compares the names of all traits with those of all properties."""
    return CoverageSnapshot(
        version, now, profiles, found.profiles, tuple(found.properties()), tuple(found.traits())
    )
