"""Deleting what is too old, in the background: one replica does it for all, a little at a time."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

import structlog

from prosperstack_destination.background import run_forever
from prosperstack_destination.clock import DAY, Clock
from prosperstack_destination.errors import DestinationError
from prosperstack_destination.store import account_stats, retention, rollups
from prosperstack_destination.store.database import Database
from prosperstack_destination.store.recent_calls import KEPT_FOR
from prosperstack_destination.store.tables import audit, recent_calls

log = structlog.get_logger(__name__)

#: Between two rounds, in seconds.
EVERY_SECONDS: Final = 3_600.0
#: How often it is noted how many profiles wait, in seconds.
LOOK_SECONDS: Final = 60.0
#: After each short transaction, in seconds: whoever takes calls in goes first.
PAUSE_SECONDS: Final = 0.05


@dataclass(frozen=True, slots=True)
class RetentionPolicy:
    """How long things are kept."""

    #: Profiles that no call was about for so many days are deleted; 0: never.
    profile_days: int
    #: The audit trail, and the like, in days and rows of an account.
    audit_days: int
    audit_rows: int
    #: Recent calls of an account.
    calls: int


class RetentionJob:
    """Keeps the bounds. ``is_first`` says whether it is up to this process."""

    def __init__(
        self, database: Database, policy: RetentionPolicy, is_first: Callable[[], bool], clock: Clock
    ) -> None:
        self._database = database
        self._bounds = policy
        self._is_first = is_first
        self._clock = clock
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin."""
        for work, seconds in ((self.delete_expired, EVERY_SECONDS), (self.record_backlogs, LOOK_SECONDS)):
            self._tasks.append(run_forever(partial(self._keep_on, work, seconds), "housekeeping"))

    async def stop(self) -> None:
        """Stop; whatever is not done yet is done some other time."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _keep_on(self, work: Callable[[], Awaitable[int]], seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            if not self._is_first():
                continue
            try:
                await work()
            except DestinationError as error:
                log.info("housekeeping is put off", reason=str(error))

    async def record_backlogs(self) -> int:
        """Note how many profiles wait, for charts; how many they are. Raises `StoreUnavailable`."""
        now = self._clock()
        found = await self._database.read(account_stats.backlogs, now)
        waiting = {account_id: sum(by_status.values()) for account_id, by_status in found.items()}
        if waiting:
            await self._database.write(rollups.note_backlogs, waiting, now)
        return sum(waiting.values())

    async def delete_expired(self, pause_seconds: float = PAUSE_SECONDS) -> int:
        """Delete everything that is too old; how many rows. Raises `StoreUnavailable`."""
        now = self._clock()
        deleted = 0
        if self._bounds.profile_days:
            place: int | None = 0
            while place is not None:
                before = now - self._bounds.profile_days * DAY
                place, count = await self._database.write(retention.forget_untouched, place, before, now)
                deleted += count
                await asyncio.sleep(pause_seconds)
        bounds = self._bounds
        for table, at, kept_for, most in (
            (audit, audit.c.at, bounds.audit_days * DAY, bounds.audit_rows),
            (recent_calls, recent_calls.c.at, KEPT_FOR, bounds.calls),
        ):
            while count := await self._database.write(retention.trim, table, at, now - kept_for, most):
                deleted += count
                await asyncio.sleep(pause_seconds)
        deleted += await self._database.write(rollups.expire, now)
        if deleted:
            log.info("deleted what is too old", rows=deleted)
        return deleted
