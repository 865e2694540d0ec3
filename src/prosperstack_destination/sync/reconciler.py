"""Keeping a worker at every account that has something to do, and none at the others."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

import structlog

from prosperstack_destination.clock import SECOND, Clock
from prosperstack_destination.errors import CredentialsRefused, DestinationError, Unavailable
from prosperstack_destination.prosperstack.budget import RateLimit
from prosperstack_destination.prosperstack.client import ProsperStack
from prosperstack_destination.state import accounts
from prosperstack_destination.state.accounts import Account, AccountStatus
from prosperstack_destination.state.database import Database
from prosperstack_destination.sync.backoff import backoff_seconds
from prosperstack_destination.sync.spender import Spender
from prosperstack_destination.sync.worker import CATALOG_FOR, AccountWorker, OnSettled, ignore_settled

log = structlog.get_logger(__name__)

#: How often accounts with work are looked for, where no call announces it, in seconds.
POLL_SECONDS: Final = 1.0
#: An account whose key is refused is tried again after this, then after twice as long, up to the second, in
#: seconds. A call for it, and so whoever mends the key, is faster: see `Accounts.authenticate`.
STOPPED_SECONDS: Final = 60.0
LONGEST_STOPPED_SECONDS: Final = 3_600.0
#: How long the requests in flight may take when the service stops, in seconds.
STOP_SECONDS: Final = 5.0
#: Without a look at the accounts for so long, the reconciler counts as stuck, in microseconds.
STUCK_AFTER: Final = 30 * SECOND

#: Makes a client for an account, which tells its answers' rate limits to the second argument.
Connect = Callable[[Account, Callable[[RateLimit | None], None]], ProsperStack]


class _Stopping(Exception):
    pass


@dataclass(slots=True)
class _Running:
    """One account, as this process knows it."""

    spender: Spender
    task: "asyncio.Task[None] | None" = field(default=None)
    #: Something changed while the task was running: it may have looked already.
    again: bool = False


class Reconciler:
    """Runs an `AccountWorker` for each account with work; one that fails waits, and slows no other.

    ``ticks`` is a monotonic clock in microseconds, ``clock`` the wall's.
    """

    def __init__(
        self,
        database: Database,
        connect: Connect,
        *,
        reserve: float,
        clock: Clock,
        ticks: Clock,
        on_settled: OnSettled = ignore_settled,
    ) -> None:
        self._database = database
        self._connect = connect
        self._reserve = reserve
        self._on_settled = on_settled
        self._clock = clock
        self._ticks = ticks
        self._running: dict[str, _Running] = {}
        self._stop = asyncio.Event()
        self._supervisor: asyncio.Task[None] | None = None
        self._looked_at: int | None = None

    def start(self) -> None:
        """Begin to reconcile."""
        self._supervisor = asyncio.create_task(self._supervise(), name="reconciler")

    async def stop(self) -> None:
        """Begin nothing new, finish the requests in flight, and stop."""
        self._stop.set()
        tasks = [running.task for running in self._running.values() if running.task is not None]
        if self._supervisor is not None:
            tasks.append(self._supervisor)
        if tasks:
            _, unfinished = await asyncio.wait(tasks, timeout=STOP_SECONDS)
            for task in unfinished:
                task.cancel()
            await asyncio.gather(*unfinished, return_exceptions=True)

    def wake(self, account_ids: Iterable[str]) -> None:
        """Look at these accounts now: something changed there."""
        for account_id in account_ids:
            self._ensure(account_id)

    def is_alive(self) -> bool:
        """Whether it has looked at the accounts lately."""
        return self._looked_at is not None and self._ticks() - self._looked_at < STUCK_AFTER

    async def _supervise(self) -> None:
        while not self._stop.is_set():
            now = self._clock()
            try:
                self.wake(await self._database.read(accounts.with_work, now, now - CATALOG_FOR))
            except DestinationError as error:
                log.warning("accounts cannot be read", reason=str(error))
            else:
                self._looked_at = self._ticks()
            await self._wait(POLL_SECONDS)

    def _ensure(self, account_id: str) -> None:
        if self._stop.is_set():
            return
        running = self._running.get(account_id)
        if running is None:
            running = self._running[account_id] = _Running(Spender(self._reserve, self._ticks, self._pause))
        if running.task is not None:
            running.again = True
            return
        running.task = asyncio.create_task(self._run(account_id, running), name=f"reconcile {account_id}")

    async def _run(self, account_id: str, running: _Running) -> None:
        try:
            running.again = True
            while running.again and not self._stop.is_set():
                running.again = False
                await self._work(account_id, running)
        except _Stopping:
            pass
        except Exception as error:
            log.exception("an account could not be reconciled", account_id=account_id)
            await self._leave_alone(account_id, running, AccountStatus.RETRYING, error)
        finally:
            running.task = None

    async def _work(self, account_id: str, running: _Running) -> None:
        account = await self._database.read(accounts.get, account_id)
        if account is None or _left_alone(account, self._clock()):
            return
        worker = AccountWorker(
            account,
            self._database,
            self._connect(account, running.spender.on_answer),
            running.spender,
            self._clock,
            self._stop.is_set,
            self._on_settled,
        )
        try:
            await worker.run()
        except CredentialsRefused as refusal:
            status = AccountStatus.NOT_PERMITTED if refusal.status_code == 403 else AccountStatus.KEY_REFUSED
            await self._leave_alone(account_id, running, status, refusal)
        except DestinationError as error:
            await self._leave_alone(account_id, running, AccountStatus.RETRYING, error)

    async def _leave_alone(
        self, account_id: str, running: _Running, status: AccountStatus, error: Exception
    ) -> None:
        """Note why an account cannot be worked at, and until when it is left alone."""
        running.spender.failures += 1
        if status is AccountStatus.RETRYING:
            named = error.retry_after if isinstance(error, Unavailable) else None
            wait = int(backoff_seconds(running.spender.failures, named) * SECOND)
        else:
            doubled = STOPPED_SECONDS * 2 ** min(running.spender.failures - 1, 10)
            wait = int(min(doubled, LONGEST_STOPPED_SECONDS) * SECOND)
        reason = str(error) if isinstance(error, DestinationError) else f"{type(error).__name__} (see the log)"
        log.warning("an account waits", account_id=account_id, status=status, reason=reason, seconds=wait / SECOND)
        try:
            until = self._clock() + wait
            await self._database.write(accounts.set_status, account_id, status, reason=reason, until=until)
        except DestinationError as failure:
            log.warning("an account's state could not be noted", account_id=account_id, reason=str(failure))

    async def _pause(self, seconds: float) -> None:
        """Sleep for the spender; the service's stop wakes it."""
        if await self._wait(seconds):
            raise _Stopping

    async def _wait(self, seconds: float) -> bool:
        """Wait that long, or until the service stops; whether it stops."""
        try:
            await asyncio.wait_for(self._stop.wait(), seconds)
        except TimeoutError:
            return False
        return True


def _left_alone(account: Account, now: int) -> bool:
    return account.status_until is not None and now < account.status_until
