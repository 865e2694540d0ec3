"""Background job that deletes expired rows; one replica does it for all, in short transactions."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

import structlog

from prosperstack_destination.background import cancel, run_forever
from prosperstack_destination.clock import DAY, Clock
from prosperstack_destination.errors import DestinationError
from prosperstack_destination.store import account_stats, retention, rollups
from prosperstack_destination.store.database import Database
from prosperstack_destination.store.recent_calls import RETENTION
from prosperstack_destination.store.tables import audit, recent_calls

log = structlog.get_logger(__name__)

#: Interval between two runs, in seconds.
DELETE_INTERVAL_SECONDS: Final = 3_600.0
#: Interval at which the number of waiting profiles is recorded, in seconds.
BACKLOG_INTERVAL_SECONDS: Final = 60.0
#: Pause after each short transaction, so that ingest goes first, in seconds.
PAUSE_SECONDS: Final = 0.05


@dataclass(frozen=True, slots=True)
class RetentionPolicy:
    """Retention of each kind of row."""

    #: Days after its last call after which a profile is deleted; 0: never.
    profile_days: int
    #: Audit log and activity, in days and rows per account.
    audit_days: int
    audit_rows: int
    #: Recent calls per account.
    calls: int


class RetentionJob:
    """Deletes expired rows and records backlogs. ``is_first`` says whether this replica does so."""

    def __init__(
        self, database: Database, policy: RetentionPolicy, is_first: Callable[[], bool], clock: Clock
    ) -> None:
        self._database = database
        self._policy = policy
        self._is_first = is_first
        self._clock = clock
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start the background tasks."""
        for work, seconds in (
            (self.delete_expired, DELETE_INTERVAL_SECONDS),
            (self.record_backlogs, BACKLOG_INTERVAL_SECONDS),
        ):
            self._tasks.append(run_forever(partial(self._repeat, work, seconds), "retention"))

    async def stop(self) -> None:
        """Stop; a later run does the rest."""
        await cancel(self._tasks)

    async def _repeat(self, work: Callable[[], Awaitable[int]], seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            if not self._is_first():
                continue
            try:
                await work()
            except DestinationError as error:
                log.info("retention is postponed", reason=str(error))

    async def record_backlogs(self) -> int:
        """Record how many profiles wait, for charts; return their number. Raises `StoreUnavailable`."""
        now = self._clock()
        backlogs = await self._database.read(account_stats.backlogs, now)
        waiting = {account_id: sum(by_status.values()) for account_id, by_status in backlogs.items()}
        if waiting:
            await self._database.write(rollups.record_backlogs, waiting, now)
        return sum(waiting.values())

    async def delete_expired(self, pause_seconds: float = PAUSE_SECONDS) -> int:
        """Delete expired rows; return their number. Raises `StoreUnavailable`."""
        now = self._clock()
        deleted = 0
        if self._policy.profile_days:
            position: int | None = 0
            while position is not None:
                before = now - self._policy.profile_days * DAY
                position, count = await self._database.write(retention.delete_inactive, position, before, now)
                deleted += count
                await asyncio.sleep(pause_seconds)
        policy = self._policy
        for table, column, kept_for, max_rows in (
            (audit, audit.c.at, policy.audit_days * DAY, policy.audit_rows),
            (recent_calls, recent_calls.c.at, RETENTION, policy.calls),
        ):
            while count := await self._database.write(retention.trim, table, column, now - kept_for, max_rows):
                deleted += count
                await asyncio.sleep(pause_seconds)
        deleted += await self._database.write(rollups.expire, now)
        if deleted:
            log.info("expired rows deleted", rows=deleted)
        return deleted
