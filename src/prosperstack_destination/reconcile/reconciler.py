"""Keeping a worker at every account of ours that has something to do, and none at the others."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import structlog
from sqlalchemy import Connection

from prosperstack_destination.background import run_forever
from prosperstack_destination.clock import SECOND, Clock
from prosperstack_destination.errors import (
    DestinationError,
    LeaseLost,
    ProsperStackAuthError,
    ProsperStackUnavailable,
)
from prosperstack_destination.prosperstack.budget import RateLimit
from prosperstack_destination.prosperstack.client import Guard, ProsperStackClient
from prosperstack_destination.reconcile.account_worker import AccountWorker
from prosperstack_destination.reconcile.backoff import LONGEST_SECONDS, backoff_seconds
from prosperstack_destination.reconcile.lease_manager import FencedStore, HeldLease, LeaseManager
from prosperstack_destination.reconcile.rate_limiter import RateLimiter
from prosperstack_destination.reconcile.redaction import reason_of
from prosperstack_destination.reconcile.worker_context import ReconcileObserver
from prosperstack_destination.store import accounts
from prosperstack_destination.store.accounts import Account, AccountStatus
from prosperstack_destination.store.clock_skew import clamp_future_times
from prosperstack_destination.store.database import Database
from prosperstack_destination.store.subscribers import requeue_unconfirmed

log = structlog.get_logger(__name__)

#: How often accounts with work are looked for, where no call announces it, in seconds.
POLL_SECONDS: Final = 1.0
#: An account that is left alone is looked at no more often than this for what comes in, in microseconds.
RESTED: Final = SECOND // 4
#: An account without work is kept for so long, in microseconds: what is known of its budget is of use.
KEPT_FOR: Final = 30 * SECOND
#: An account whose key is refused is tried again after this, then after twice as long, up to the second, in
#: seconds. A call for it, and so whoever mends the key, is faster: see `Authenticator.authenticate`.
STOPPED_SECONDS: Final = 60.0
LONGEST_STOPPED_SECONDS: Final = 3_600.0
#: Where windows are shorter than this the longest wait between two attempts is not, in seconds.
SHORTEST_LONGEST_SECONDS: Final = 5.0
#: How long the requests in flight may take when the service stops, in seconds.
STOP_SECONDS: Final = 5.0
#: A clock that went back by more than this was set, in microseconds.
SET_BACK: Final = 5 * SECOND
#: Without a look at the accounts for so long, the reconciler counts as stuck, in microseconds.
STUCK_AFTER: Final = 30 * SECOND

#: Makes a client for an account, which tells its answers' rate limits to the second argument.
Connect = Callable[[Account, Callable[[RateLimit | None], None], Guard], ProsperStackClient]


class _Halted(Exception):
    pass


@dataclass(slots=True)
class _Running:
    """One account that is ours."""

    tenure: HeldLease
    spender: RateLimiter
    #: Nothing new is to be begun.
    halt: asyncio.Event
    #: When it had work last, in ticks.
    worked_at: int
    #: Set when there is news for the task, or it has to come to an end.
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    task: "asyncio.Task[None] | None" = field(default=None)
    #: Something changed while the task was running: it may have looked already.
    again: bool = False
    #: It was to be left alone when it was looked at last: while no task runs, news of it are not worth another look
    #: until then, in ticks.
    rests_until: int = 0

    def stop(self) -> None:
        """Have it begin nothing new."""
        self.halt.set()
        self.changed.set()


class Reconciler:
    """Runs an `AccountWorker` for each account of ours with work; one that fails waits, and slows no other.

    ``reserve`` is the part of each window that is left to the owner of an account, where none was chosen for it.
    ``replica`` names this process among others; ``ticks`` is a monotonic clock in microseconds that goes on while
    the machine sleeps, ``clock`` the wall's.
    """

    def __init__(
        self,
        database: Database,
        connect: Connect,
        *,
        replica: str,
        reserve: float,
        bulk_share: float,
        clock: Clock,
        ticks: Clock,
        observer: ReconcileObserver | None = None,
    ) -> None:
        self._observer = observer
        self._database = database
        self._connect = connect
        self._reserve = reserve
        self._bulk_share = bulk_share
        self._clock = clock
        self._ticks = ticks
        self.holdings = LeaseManager(replica, database, ticks)
        self._running: dict[str, _Running] = {}
        self._woken: set[str] = set()
        self._poke = asyncio.Event()
        self._stop = asyncio.Event()
        self._supervisor: asyncio.Task[None] | None = None
        self._looked_at: int | None = None
        #: By how much the wall's clock is ahead of the one that never steps.
        self._ahead: int | None = None
        #: What is left to do for accounts that are not ours any more.
        self._leaving: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Begin to reconcile."""
        self._supervisor = run_forever(self._supervise, "reconciler")

    async def stop(self) -> None:
        """Begin nothing new, finish the requests in flight, give up the leases, and stop."""
        self._stop.set()
        self._poke.set()
        for running in self._running.values():
            running.stop()
        tasks = {running.task for running in self._running.values() if running.task is not None} | self._leaving
        if self._supervisor is not None:
            tasks.add(self._supervisor)
        if tasks:
            _, unfinished = await asyncio.wait(tasks, timeout=STOP_SECONDS)
            for task in unfinished:
                task.cancel()
            await asyncio.gather(*unfinished, return_exceptions=True)
        try:
            await self.holdings.leave()
        except DestinationError as error:
            log.warning("the leases could not be given up: others wait until they run out", reason=str(error))

    def wake(self, account_ids: Iterable[str]) -> None:
        """Look at these accounts now: something changed there."""
        for account_id in account_ids:
            if account_id in self.holdings.tenures:
                running = self._running.get(account_id)
                if running is not None and running.task is None and self._ticks() < running.rests_until:
                    continue  # while ProsperStack is away, calls go on coming
                self._ensure(account_id)
                if (running := self._running.get(account_id)) is not None:
                    running.changed.set()
            elif account_id not in self.holdings.elsewhere:
                self._woken.add(account_id)
                self._poke.set()

    def is_alive(self) -> bool:
        """Whether it has looked at the accounts lately."""
        return self._looked_at is not None and self._ticks() - self._looked_at < STUCK_AFTER

    async def _supervise(self) -> None:
        while not self._stop.is_set():
            self._poke.clear()
            try:
                await self._look()
            except DestinationError as error:
                log.warning("accounts cannot be read", reason=str(error))
                await self._wait(self._stop, POLL_SECONDS)  # whatever pokes us meanwhile: the database is away
            else:
                self._looked_at = self._ticks()
                await self._wait(self._poke, POLL_SECONDS)

    async def _look(self) -> None:
        """See what there is to do, and whose it is."""
        now = self._clock()
        await self._notice_clock(now)
        found, reserves = await self._database.read(_to_look_at, now)
        wanted = set(found) | self._woken
        self._woken = set()
        for account_id, running in self._running.items():
            if running.spender.set_reserve(reserves.get(account_id, self._reserve)):
                running.changed.set()  # it may be waiting for what is not to be left any more
        if self.holdings.needs_a_look(wanted):
            await self._share(wanted)
        for account_id in wanted & self.holdings.tenures.keys():
            self._ensure(account_id)

    async def _notice_clock(self, now: int) -> None:
        """A clock that was set back would have what is pending wait until it is there again."""
        ahead = now - self._ticks()
        if self._ahead is not None and ahead < self._ahead - SET_BACK:
            log.warning("the clock was set back", seconds=(self._ahead - ahead) / SECOND)
            await self._database.write(clamp_future_times, now)
        self._ahead = ahead

    async def _share(self, wanted: set[str]) -> None:
        ticks = self._ticks()
        resting = {account_id for account_id, running in self._running.items() if running.task is None}
        retired = {
            each
            for each in resting
            if ticks - self._running[each].worked_at >= KEPT_FOR and not self._running[each].spender.streaks.broken
        }
        changes = await self.holdings.look(wanted, resting, retired)
        for account_id in self._running.keys() - self.holdings.tenures.keys():
            running = self._running.pop(account_id)
            running.stop()
            if account_id in changes.lost:
                self._later(self._doubt(account_id, running))
        for account_id, running in self._running.items():
            if account_id in changes.asked_back:
                running.stop()
            elif not self._stop.is_set():
                running.halt.clear()
        for account_id in changes.lost:
            log.warning("another replica took the account over", account_id=account_id)
        if changes.taken:
            log.info("accounts taken", accounts=len(changes.taken), held=len(self.holdings.tenures))

    def _later(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def _doubt(self, account_id: str, running: _Running) -> None:
        """What was sent while another replica may have had the account is looked at again, by whoever has it."""
        if running.task is not None:
            await running.task
        while doubtful := running.tenure.unconfirmed:
            log.warning("what was sent is in doubt", account_id=account_id, subscribers=len(doubtful))
            try:
                await self._database.write(requeue_unconfirmed, account_id, doubtful, self._clock())
            except DestinationError as error:
                log.warning("that could not be noted", account_id=account_id, reason=str(error))
                if await self._wait(self._stop, POLL_SECONDS):
                    return
            else:
                return

    def _ensure(self, account_id: str) -> None:
        if self._stop.is_set():
            return
        running = self._running.get(account_id)
        if running is None:
            halt = asyncio.Event()
            spender = RateLimiter(self._reserve, self._ticks, partial(self._pause, halt))
            tenure = self.holdings.tenures[account_id]
            running = self._running[account_id] = _Running(tenure, spender, halt, self._ticks())
        running.worked_at = self._ticks()
        if running.task is not None:
            running.again = True
        elif not running.halt.is_set():
            running.task = asyncio.create_task(self._run(account_id, running), name=f"reconcile {account_id}")

    async def _run(self, account_id: str, running: _Running) -> None:
        try:
            running.again = True
            while running.again and not running.halt.is_set():
                running.again = False
                await self._work(account_id, running)
        except _Halted:
            pass
        except Exception as error:
            log.exception("an account could not be reconciled", account_id=account_id)
            await self._leave_alone(account_id, running, AccountStatus.RETRYING, error)
        finally:
            running.task = None
            running.worked_at = self._ticks()

    async def _work(self, account_id: str, running: _Running) -> None:
        account = await self._database.read(accounts.get, account_id)
        if account is None or _left_alone(account, self._clock()):
            running.rests_until = self._ticks() + RESTED
            return
        running.rests_until = 0
        running.spender.set_reserve(account.reserve_or(self._reserve))
        worker = AccountWorker(
            account,
            FencedStore(self._database, running.tenure, self._ticks),
            self._connect(account, running.spender.on_answer, running.tenure.guard),
            running.spender,
            clock=self._clock,
            ticks=self._ticks,
            changed=running.changed,
            bulk_share=self._bulk_share,
            stopping=running.halt.is_set,
            observer=self._observer,
        )
        try:
            await worker.run()
        except LeaseLost as lost:
            log.warning("the account's lease is lost", account_id=account_id, reason=str(lost))
            self._poke.set()
        except ProsperStackAuthError as refusal:
            status = AccountStatus.NOT_PERMITTED if refusal.status_code == 403 else AccountStatus.KEY_REFUSED
            await self._leave_alone(account_id, running, status, refusal, account.encrypted_key)
        except DestinationError as error:
            await self._leave_alone(account_id, running, AccountStatus.RETRYING, error)

    async def _leave_alone(
        self,
        account_id: str,
        running: _Running,
        status: AccountStatus,
        error: Exception,
        encrypted_key: str | None = None,
    ) -> None:
        """Note why an account cannot be worked at, and until when it is left alone.

        ``encrypted_key`` is the one that was refused: an operator may have replaced it meanwhile.
        """
        running.spender.failures += 1
        if status is AccountStatus.RETRYING:
            named = error.retry_after if isinstance(error, ProsperStackUnavailable) else None
            # One request a window is all that an outage costs, and all that its end is late by.
            window = running.spender.budget.length / SECOND or LONGEST_SECONDS
            longest = min(max(window, SHORTEST_LONGEST_SECONDS), LONGEST_SECONDS)
            wait = int(backoff_seconds(running.spender.failures, named, longest=longest) * SECOND)
        else:
            doubled = STOPPED_SECONDS * 2 ** min(running.spender.failures - 1, 10)
            wait = int(min(doubled, LONGEST_STOPPED_SECONDS) * SECOND)
        reason = (
            reason_of(error) if isinstance(error, DestinationError) else f"{type(error).__name__} (see the log)"
        )
        log.warning("an account waits", account_id=account_id, status=status, reason=reason, seconds=wait / SECOND)
        try:
            until = self._clock() + wait
            store = FencedStore(self._database, running.tenure, self._ticks)
            await store.write(
                accounts.set_status, account_id, status, reason=reason, until=until, encrypted_key=encrypted_key
            )
        except DestinationError as failure:
            log.warning("an account's state could not be noted", account_id=account_id, reason=str(failure))

    async def _pause(self, halt: asyncio.Event, seconds: float) -> None:
        """Sleep for the spender; whatever halts the account wakes it."""
        if await self._wait(halt, seconds):
            raise _Halted

    async def _wait(self, event: asyncio.Event, seconds: float) -> bool:
        """Wait that long, or until something is the case; whether it is."""
        try:
            await asyncio.wait_for(event.wait(), seconds)
        except TimeoutError:
            return False
        return True


def _to_look_at(connection: Connection, now: int) -> tuple[list[str], dict[str, float]]:
    """The accounts with something to do, and what is to be left of their budgets where that was chosen."""
    return accounts.with_work(connection, now), accounts.reserves(connection)


def _left_alone(account: Account, now: int) -> bool:
    return account.status_until is not None and now < account.status_until
