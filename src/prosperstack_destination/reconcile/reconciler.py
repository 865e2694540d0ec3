"""The reconciler: one worker for each account that this replica holds and that has work."""

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
    UnreadableMapping,
)
from prosperstack_destination.prosperstack.budget import RateLimit
from prosperstack_destination.prosperstack.client import Guard, ProsperStackClient
from prosperstack_destination.reconcile.account_worker import AccountWorker
from prosperstack_destination.reconcile.backoff import LONGEST_SECONDS, backoff_seconds
from prosperstack_destination.reconcile.delivery_writer import DeliveryWriter
from prosperstack_destination.reconcile.lease_manager import FencedStore, HeldLease, LeaseManager
from prosperstack_destination.reconcile.rate_limiter import RateLimiter
from prosperstack_destination.reconcile.redaction import reason_of
from prosperstack_destination.reconcile.worker_context import ReconcileObserver
from prosperstack_destination.store import accounts, queue
from prosperstack_destination.store.accounts import Account, AccountStatus
from prosperstack_destination.store.database import Database
from prosperstack_destination.store.requeue import clamp_future_times
from prosperstack_destination.store.subscribers import requeue_unconfirmed

log = structlog.get_logger(__name__)

#: Interval between two reads of the accounts with work, in seconds. A call wakes the reconciler sooner.
POLL_SECONDS: Final = 1.0
#: Calls wake an account that is backing off at most once in this time, in microseconds.
BACKOFF_RECHECK: Final = SECOND // 4
#: An account without work keeps its worker state, and so its budget, for this long, in microseconds.
IDLE_TTL: Final = 30 * SECOND
#: First and longest wait of an account whose key is refused, in seconds; the wait doubles each time. A call for the
#: account ends the wait: see `Authenticator.authenticate`.
STOPPED_SECONDS: Final = 60.0
LONGEST_STOPPED_SECONDS: Final = 3_600.0
#: Lower bound of the longest backoff, which otherwise is the length of the rate limit's window, in seconds.
MIN_BACKOFF_CAP_SECONDS: Final = 5.0
#: Time that requests in flight get to finish when the service stops, in seconds.
STOP_SECONDS: Final = 5.0
#: The wall clock was set back if it lost more than this against the monotonic one, in microseconds.
CLOCK_STEP: Final = 5 * SECOND
#: The reconciler counts as stuck when it has not polled for this long, in microseconds.
STUCK_AFTER: Final = 30 * SECOND

#: Creates a client for an account. It passes each response's rate limit to the second argument, and runs
#: each request inside the guard.
Connect = Callable[[Account, Callable[[RateLimit | None], None], Guard], ProsperStackClient]


class _Halted(Exception):
    pass


@dataclass(slots=True)
class _RunningAccount:
    """State of one account that this replica holds."""

    held_lease: HeldLease
    rate_limiter: RateLimiter
    #: Set: start no further request.
    halt: asyncio.Event
    #: Time of its latest work, in ticks.
    worked_at: int
    #: Set when the account changed, or its task has to end.
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    task: "asyncio.Task[None] | None" = field(default=None)
    #: The account changed while its task was running, so the task has to run again.
    run_again: bool = False
    #: Status and reason of the latest backoff, which is logged once.
    backed_off: tuple[AccountStatus, str] | None = None
    #: While no task runs, changes do not start one before this time, in ticks.
    backoff_until: int = 0

    def stop(self) -> None:
        """Start no further request; those in flight finish."""
        self.halt.set()
        self.changed.set()


class Reconciler:
    """Runs an `AccountWorker` for each held account that has work. An account that fails backs off alone.

    ``reserve`` is the share of each window that is left to an account's owner, where the account sets none.
    ``replica`` names this process. ``ticks`` is a monotonic clock in microseconds that also counts while the
    machine sleeps; ``clock`` is the wall clock.
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
        self.lease_manager = LeaseManager(replica, database, ticks)
        self._deliveries = DeliveryWriter(database, ticks)
        self._running: dict[str, _RunningAccount] = {}
        self._woken: set[str] = set()
        self._woken_event = asyncio.Event()
        self._stop = asyncio.Event()
        self._poll_task: asyncio.Task[None] | None = None
        self._polled_at: int | None = None
        #: Offset of the wall clock from the monotonic one, in microseconds.
        self._clock_offset: int | None = None
        #: Background tasks of accounts that this replica does not hold any more.
        self._releasing: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Start to reconcile."""
        self._poll_task = run_forever(self._poll_forever, "reconciler")

    async def stop(self) -> None:
        """Start nothing new, finish the requests in flight, give up the leases, and stop."""
        self._stop.set()
        self._woken_event.set()
        for running in self._running.values():
            running.stop()
        tasks = {running.task for running in self._running.values() if running.task is not None} | self._releasing
        if self._poll_task is not None:
            tasks.add(self._poll_task)
        if tasks:
            _, unfinished = await asyncio.wait(tasks, timeout=STOP_SECONDS)
            for task in unfinished:
                task.cancel()
            await asyncio.gather(*unfinished, return_exceptions=True)
        try:
            await self.lease_manager.release_all()
        except DestinationError as error:
            log.warning(
                "the leases could not be given up; other replicas take over when they expire", reason=str(error)
            )

    def wake(self, account_ids: Iterable[str]) -> None:
        """Check these accounts now, because they changed."""
        for account_id in account_ids:
            if account_id in self.lease_manager.held:
                running = self._running.get(account_id)
                if running is not None and running.task is None and self._ticks() < running.backoff_until:
                    continue  # calls keep arriving while ProsperStack is unavailable
                self._start_worker(account_id)
                if (running := self._running.get(account_id)) is not None:
                    running.changed.set()
            elif account_id not in self.lease_manager.elsewhere:
                self._woken.add(account_id)
                self._woken_event.set()

    def is_alive(self) -> bool:
        """Return whether the accounts were polled within `STUCK_AFTER`."""
        return self._polled_at is not None and self._ticks() - self._polled_at < STUCK_AFTER

    async def _poll_forever(self) -> None:
        while not self._stop.is_set():
            self._woken_event.clear()
            try:
                await self._poll()
            except DestinationError as error:
                log.warning("the accounts cannot be read", reason=str(error))
                await self._wait(self._stop, POLL_SECONDS)  # even when woken: the database is unavailable
            else:
                self._polled_at = self._ticks()
                await self._wait(self._woken_event, POLL_SECONDS)

    async def _poll(self) -> None:
        """Start a worker for each account with work that this replica holds."""
        now = self._clock()
        await self._check_clock(now)
        account_ids, reserves = await self._database.read(_accounts_with_work, now)
        wanted = set(account_ids) | self._woken
        self._woken = set()
        for account_id, running in self._running.items():
            if running.rate_limiter.set_reserve(reserves.get(account_id, self._reserve)):
                running.changed.set()  # a smaller reserve may end its wait
        if self.lease_manager.is_due(wanted):
            await self._rebalance(wanted)
        for account_id in wanted & self.lease_manager.held.keys():
            self._start_worker(account_id)

    async def _check_clock(self, now: int) -> None:
        """Correct pending times after the wall clock was set back: they would wait until it catches up."""
        ahead = now - self._ticks()
        if self._clock_offset is not None and ahead < self._clock_offset - CLOCK_STEP:
            log.warning("the clock was set back", seconds=(self._clock_offset - ahead) / SECOND)
            await self._database.write(clamp_future_times, now)
        self._clock_offset = ahead

    async def _rebalance(self, wanted: set[str]) -> None:
        ticks = self._ticks()
        idle = {account_id for account_id, running in self._running.items() if running.task is None}
        long_idle = {
            account_id
            for account_id in idle
            if ticks - self._running[account_id].worked_at >= IDLE_TTL
            and not self._running[account_id].rate_limiter.streaks.broken
        }
        changes = await self.lease_manager.rebalance(wanted, idle, long_idle)
        for account_id in self._running.keys() - self.lease_manager.held.keys():
            running = self._running.pop(account_id)
            running.stop()
            if account_id in changes.lost:
                self._in_background(self._requeue_unconfirmed(account_id, running))
        for account_id, running in self._running.items():
            if account_id in changes.draining:
                running.stop()
            elif not self._stop.is_set():
                running.halt.clear()
        for account_id in changes.lost:
            log.warning("another replica took the account over", account_id=account_id)
        if changes.taken:
            log.info("accounts taken", accounts=len(changes.taken), held=len(self.lease_manager.held))

    def _in_background(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._releasing.add(task)
        task.add_done_callback(self._releasing.discard)

    async def _requeue_unconfirmed(self, account_id: str, running: _RunningAccount) -> None:
        """Requeue subscribers that were written to while another replica may have held the account."""
        if running.task is not None:
            await running.task
        while unconfirmed := running.held_lease.unconfirmed:
            log.warning(
                "updates are unconfirmed and are looked up again",
                account_id=account_id,
                subscribers=len(unconfirmed),
            )
            try:
                await self._database.write(requeue_unconfirmed, account_id, unconfirmed, self._clock())
            except DestinationError as error:
                log.warning("unconfirmed updates could not be requeued", account_id=account_id, reason=str(error))
                if await self._wait(self._stop, POLL_SECONDS):
                    return
            else:
                return

    def _start_worker(self, account_id: str) -> None:
        if self._stop.is_set():
            return
        running = self._running.get(account_id)
        if running is None:
            halt = asyncio.Event()
            rate_limiter = RateLimiter(self._reserve, self._ticks, partial(self._pause, halt))
            held_lease = self.lease_manager.held[account_id]
            running = self._running[account_id] = _RunningAccount(held_lease, rate_limiter, halt, self._ticks())
        running.worked_at = self._ticks()
        if running.task is not None:
            running.run_again = True
        elif not running.halt.is_set():
            running.task = asyncio.create_task(self._run(account_id, running), name=f"reconcile {account_id}")

    async def _run(self, account_id: str, running: _RunningAccount) -> None:
        try:
            running.run_again = True
            while running.run_again and not running.halt.is_set():
                running.run_again = False
                await self._work(account_id, running)
        except _Halted:
            pass
        except Exception as error:
            log.exception("the account could not be reconciled", account_id=account_id)
            await self._back_off(account_id, running, AccountStatus.RETRYING, error)
        finally:
            running.task = None
            running.worked_at = self._ticks()

    async def _work(self, account_id: str, running: _RunningAccount) -> None:
        account = await self._database.read(accounts.get, account_id)
        if account is None or _is_backing_off(account, self._clock()):
            running.backoff_until = self._ticks() + BACKOFF_RECHECK
            return
        running.backoff_until = 0
        running.rate_limiter.set_reserve(account.reserve_or(self._reserve))
        worker = AccountWorker(
            account,
            FencedStore(self._database, running.held_lease, self._ticks),
            self._connect(account, running.rate_limiter.on_answer, running.held_lease.guard),
            running.rate_limiter,
            clock=self._clock,
            ticks=self._ticks,
            changed=running.changed,
            bulk_share=self._bulk_share,
            stopping=running.halt.is_set,
            observer=self._observer,
            store_delivery=partial(self._deliveries.store, running.held_lease),
        )
        try:
            await worker.run()
            running.backed_off = None
        except LeaseLost as lost:
            log.warning("the account's lease is lost", account_id=account_id, reason=str(lost))
            self._woken_event.set()
        except ProsperStackAuthError as refusal:
            status = AccountStatus.NOT_PERMITTED if refusal.status_code == 403 else AccountStatus.KEY_REFUSED
            await self._back_off(account_id, running, status, refusal, account.encrypted_key)
        except UnreadableMapping as error:
            await self._database.write(accounts.expire_catalog, account_id)  # lists the properties again
            await self._back_off(account_id, running, AccountStatus.RETRYING, error)
        except DestinationError as error:
            await self._back_off(account_id, running, AccountStatus.RETRYING, error)

    async def _back_off(
        self,
        account_id: str,
        running: _RunningAccount,
        status: AccountStatus,
        error: Exception,
        encrypted_key: str | None = None,
    ) -> None:
        """Store why an account cannot be worked on, and when to try again.

        ``encrypted_key`` is the key that was refused: an operator may have replaced it meanwhile.
        """
        running.rate_limiter.failures += 1
        if status is AccountStatus.RETRYING:
            retry_after = error.retry_after if isinstance(error, ProsperStackUnavailable) else None
            # An outage costs one request a window, and its end is noticed within one window.
            window = running.rate_limiter.budget.length / SECOND or LONGEST_SECONDS
            longest = min(max(window, MIN_BACKOFF_CAP_SECONDS), LONGEST_SECONDS)
            wait = int(backoff_seconds(running.rate_limiter.failures, retry_after, longest=longest) * SECOND)
        else:
            doubled = STOPPED_SECONDS * 2 ** min(running.rate_limiter.failures - 1, 10)
            wait = int(min(doubled, LONGEST_STOPPED_SECONDS) * SECOND)
        reason = (
            reason_of(error) if isinstance(error, DestinationError) else f"{type(error).__name__} (see the log)"
        )
        if running.backed_off != (status, reason):  # a reason is logged once, however often it recurs
            log.warning(
                "the account backs off", account_id=account_id, status=status, reason=reason, seconds=wait / SECOND
            )
        running.backed_off = (status, reason)
        try:
            until = self._clock() + wait
            store = FencedStore(self._database, running.held_lease, self._ticks)
            await store.write(
                accounts.set_status, account_id, status, reason=reason, until=until, encrypted_key=encrypted_key
            )
        except DestinationError as failure:
            log.warning("the account's status could not be stored", account_id=account_id, reason=str(failure))

    async def _pause(self, halt: asyncio.Event, seconds: float) -> None:
        """Sleep for the rate limiter. Raises `_Halted` when the account is stopped meanwhile."""
        if await self._wait(halt, seconds):
            raise _Halted

    async def _wait(self, event: asyncio.Event, seconds: float) -> bool:
        """Wait for an event, up to a number of seconds; return whether it was set."""
        try:
            await asyncio.wait_for(event.wait(), seconds)
        except TimeoutError:
            return False
        return True


def _accounts_with_work(connection: Connection, now: int) -> tuple[list[str], dict[str, float]]:
    """Return the accounts with work, and the reserves of accounts that set one."""
    return queue.accounts_with_work(connection, now), accounts.reserves(connection)


def _is_backing_off(account: Account, now: int) -> bool:
    return account.status_until is not None and now < account.status_until
