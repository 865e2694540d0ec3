"""Having everybody compared with ProsperStack anew, in the background: with very many people it takes minutes."""

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
    """How far one is, or was: people are made due, and compared as requests allow afterwards."""

    #: In microseconds since the epoch.
    began_at: int
    #: People of the account when it began, and how many of them are due by now.
    total: int
    done: int = 0
    finished_at: int | None = None
    #: Why it ended before everybody was due: it may be begun anew. None: it did not.
    failed: str | None = None


class ReplayJobs:
    """Those of this process. ``wake`` is told which accounts have something to do."""

    def __init__(self, database: Database, clock: Clock, wake: Callable[[Iterable[str]], None]) -> None:
        self._database = database
        self._clock = clock
        self._wake = wake
        self._latest: dict[str, ReplayProgress] = {}
        self._under_way: dict[str, asyncio.Task[None]] = {}

    def of(self, account_id: str) -> ReplayProgress | None:
        """The latest one of an account; None: there was none since this process began."""
        return self._latest.get(account_id)

    async def begin(self, account: Account, actor: str) -> ReplayProgress:
        """Begin one, as ``actor``; while one is under way it is that one."""
        total = await self._database.read(profile_scan.count, account.id)
        if account.id not in self._under_way:
            self._latest[account.id] = ReplayProgress(self._clock(), total)
            task = asyncio.create_task(self._run(account, actor, self._latest[account.id]))
            self._under_way[account.id] = task
            task.add_done_callback(lambda _: self._under_way.pop(account.id, None))
        return self._latest[account.id]

    async def close(self) -> None:
        """Break off what is under way; the audit trail tells how far it was."""
        tasks = list(self._under_way.values())
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
            log.warning("a replay was broken off", account=account.id, done=replay.done, error=str(error))
        except Exception:  # a bug of ours: nobody is to take it for one that came to its end
            replay.failed = "An internal error, which is logged."
            log.exception("a replay was broken off", account=account.id, done=replay.done)
        finally:
            replay.finished_at = self._clock()
