"""Replays of all people of an account, run in the background: with very many people they take minutes."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import structlog

from prosperstack_destination.admin.actions import replay_all
from prosperstack_destination.clock import Clock
from prosperstack_destination.errors import DestinationError
from prosperstack_destination.store import profile_scan
from prosperstack_destination.store.accounts import Account
from prosperstack_destination.store.database import Database

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class ReplayProgress:
    """Progress of one replay. It makes people due; the reconciler then compares them as requests allow."""

    #: In microseconds since the epoch.
    began_at: int
    #: People of the account at the start, and number of those already due.
    total: int
    done: int = 0
    finished_at: int | None = None
    #: Reason of an early end; the replay may be started again. None: no failure.
    failed: str | None = None


class ReplayJobs:
    """Replays of this process. ``wake`` is called with the accounts that have due work."""

    def __init__(self, database: Database, clock: Clock, wake: Callable[[Iterable[str]], None]) -> None:
        self._database = database
        self._clock = clock
        self._wake = wake
        self._latest: dict[str, ReplayProgress] = {}
        self._running: dict[str, asyncio.Task[None]] = {}

    def of(self, account_id: str) -> ReplayProgress | None:
        """Return the latest replay of an account; None: none since this process started."""
        return self._latest.get(account_id)

    async def start(self, account: Account, actor: str) -> ReplayProgress:
        """Start a replay as ``actor``, or return the one that is running."""
        total = await self._database.read(profile_scan.count, account.id)
        if account.id not in self._running:
            self._latest[account.id] = ReplayProgress(self._clock(), total)
            task = asyncio.create_task(self._run(account, actor, self._latest[account.id]))
            self._running[account.id] = task
            task.add_done_callback(lambda _: self._running.pop(account.id, None))
        return self._latest[account.id]

    async def close(self) -> None:
        """Cancel the running replays; the audit log records their progress."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, account: Account, actor: str, replay: ReplayProgress) -> None:
        def progress(done: int) -> None:
            replay.done = done
            self._wake([account.id])

        try:
            await replay_all(self._database, account, actor, replay.began_at, progress)
        except DestinationError as error:
            replay.failed = str(error)
            log.warning("replay failed", account=account.id, done=replay.done, error=str(error))
        except Exception:  # a bug: the page must not show the replay as finished
            replay.failed = "Internal error; the log has the details."
            log.exception("replay failed", account=account.id, done=replay.done)
        finally:
            replay.finished_at = self._clock()
