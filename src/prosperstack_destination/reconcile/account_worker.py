"""Reconciling one account: judge what changed, plan the next request, send it, until nothing is left to do."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Final

import structlog

from prosperstack_destination.clock import SECOND, Clock
from prosperstack_destination.errors import (
    DestinationError,
    ProsperStackError,
    ProsperStackNotFound,
    ProsperStackRejected,
    ProsperStackUnavailable,
)
from prosperstack_destination.prosperstack.client import ProsperStackClient
from prosperstack_destination.reconcile import evaluation
from prosperstack_destination.reconcile.backoff import person_backoff_seconds
from prosperstack_destination.reconcile.decision import (
    InSync,
    NeedsLookup,
    NeedsSubscriptionUpdate,
    NeedsUpdate,
    Unmatched,
)
from prosperstack_destination.reconcile.delivery import deliver, deliver_subscriptions, erase_remote
from prosperstack_destination.reconcile.discovery import list_page, look_up, sweep_page
from prosperstack_destination.reconcile.in_flight import InFlight
from prosperstack_destination.reconcile.maintenance import AccountMaintenance
from prosperstack_destination.reconcile.planner import (
    BULK_SHARE,
    ListPage,
    LookUp,
    PlannerInput,
    Request,
    SendErasure,
    SendUpdate,
    SweepPage,
    Wait,
    plan,
)
from prosperstack_destination.reconcile.queue_view import QueueView
from prosperstack_destination.reconcile.rate_limiter import RateLimiter
from prosperstack_destination.reconcile.redaction import reason_of
from prosperstack_destination.reconcile.subscriptions import SubscriptionUpdater
from prosperstack_destination.reconcile.worker_context import (
    NullReconcileObserver,
    ReconcileObserver,
    WorkerContext,
)
from prosperstack_destination.store import profiles, remote_erasures, sweep_state
from prosperstack_destination.store.accounts import Account
from prosperstack_destination.store.database import UnitOfWork
from prosperstack_destination.store.models import Profile
from prosperstack_destination.store.sweep_state import Sweep

log = structlog.get_logger(__name__)

#: Profiles that are judged together, in one transaction.
BATCH: Final = 200
#: Requests that may be under way at once: enough for a slow ProsperStack, at any rate that it is known to allow.
MAX_IN_FLIGHT: Final = 32
#: A profile that a fault of ours keeps from being worked at is tried again after this, in microseconds.
FAULTY_WAIT: Final = 60 * SECOND
#: Without a sign of a change, profiles whose time has come are looked for after this, in microseconds.
EVALUATE_EVERY: Final = 1 * SECOND
#: A wait that a timer may be short by, in microseconds.
TRIFLE: Final = SECOND // 1000
#: However fast changes come in, they are looked at no more often than this, in microseconds.
POLL_PAUSE: Final = SECOND // 20
#: While there is nothing left to spend: whatever came in could not be sent sooner.
POLL_PAUSE_WITHOUT_BUDGET: Final = SECOND // 4


class AccountWorker:
    """Spends one account's requests. Only one may run for an account at a time.

    Every write is safe to repeat, and names the version of the profile that it settles: what changes while a
    request is in flight stays due. ``changed`` is set when there is news, or the service stops.
    """

    def __init__(
        self,
        account: Account,
        database: UnitOfWork,
        prosperstack: ProsperStackClient,
        spender: RateLimiter,
        *,
        clock: Clock,
        ticks: Clock,
        changed: asyncio.Event | None = None,
        bulk_share: float = BULK_SHARE,
        stopping: Callable[[], bool] = lambda: False,
        observer: ReconcileObserver | None = None,
    ) -> None:
        self._log = log.bind(account=account.fingerprint)
        self._at = WorkerContext(
            account.id, database, prosperstack, spender, clock, self._log, observer or NullReconcileObserver()
        )
        self._ticks = ticks
        self._changed = changed or asyncio.Event()
        self._bulk_share = bulk_share
        self._stopping = stopping
        self._under_way = InFlight(self._ended)
        self._listing = False
        #: Whether the end of a request is news as well.
        self._heed_ends = False
        self._looked_at: int | None = None
        self._failure: Exception | None = None
        self._judged_at: int | None = None
        #: Profiles that were to be judged while they had a request under way.
        self._passed_over: Set[int] = frozenset()
        self._queues = QueueView(self._at, self._under_way, ticks)
        self._subscriptions = SubscriptionUpdater(self._at)
        self._upkeep = AccountMaintenance(account, self._at, self._subscriptions, ticks)

    async def run(self) -> None:
        """Work until nothing is to be done now, or the service stops.

        Raises `ProsperStackError` where the whole account has to wait.
        """
        try:
            while not self._stopping() and self._failure is None:
                self._changed.clear()
                self._looked_at = self._ticks()
                await self._upkeep.run_if_due()
                more = await self._judge()
                if await self._step() or more or self._judged_at is None:
                    continue  # also where a request ended meanwhile, and brought news
                if not self._under_way:
                    await self._upkeep.see_to_the_rest()
                    return
                await self._pause(None, heed_ends=True)
        except asyncio.CancelledError:
            await self._under_way.end(cancel=True)
            raise
        finally:
            await self._under_way.end()
        if self._failure is not None:
            raise self._failure

    async def _step(self) -> bool:
        """Send the best request, or wait for one; whether there is more to do."""
        spender = self._at.spender
        if len(self._under_way) >= MAX_IN_FLIGHT:
            await self._pause(None, heed_ends=True)
            return True
        if (wait := spender.wait(urgent=True)) and await self._has_work():
            await self._pause(wait, heed_ends=False, deaf_for=POLL_PAUSE_WITHOUT_BUDGET)
            return True
        situation = await self._situation()
        planned = plan(situation)
        if isinstance(planned, Wait):
            if planned.microseconds is None:
                return False
            await self._pause(planned.microseconds, heed_ends=True)
            return True
        urgent = isinstance(planned, SendUpdate | LookUp) and planned.urgent
        if wait := spender.wait(urgent=urgent):
            await self._pause(wait, heed_ends=False)
            if self._changed.is_set() or self._stopping() or spender.wait(urgent=urgent) > TRIFLE:
                return True
        try:
            launched = await self._launch(planned)
        except DestinationError:
            raise
        except Exception as error:
            if not isinstance(planned, SendUpdate | LookUp):
                raise
            await self._postpone_faulty({planned.profile_id: type(error).__name__})
            return True
        if launched:
            spender.spent = spender.spent.after(planned, replace(situation, ticks=self._ticks()))
        return True

    async def _launch(self, request: Request) -> bool:
        """Begin with a request; False: it is not needed any more."""
        match request:
            case SendErasure():
                due = await self._at.database.read(remote_erasures.due, self._at.account_id, self._at.clock(), 1)
                if not due:
                    return False
                # One by one: what was written before arrives first, and what is written anew comes after.
                await self._under_way.written(due[0].subscriber_id)
                await erase_remote(self._at, self._subscriptions, due[0])
            case ListPage():
                self._listing = True
                await self._under_way.start(self._list_page())
            case SweepPage(next_in):
                now = self._at.clock()
                sweep = await self._at.database.write(sweep_state.go_on, self._at.account_id, now, now + next_in)
                await self._under_way.start(self._sweep_page(sweep))
            case LookUp(profile_id, urgent):
                read = await self._at.database.read(evaluation.of_profile, self._upkeep.account, profile_id)
                if read is None:
                    return False
                await self._look_up(read[1].profile, urgent=urgent)
            case SendUpdate(profile_id, urgent=urgent):
                return await self._launch_update(profile_id, urgent=urgent)
        return True

    async def _look_up(self, profile: Profile, *, urgent: bool) -> None:
        request = partial(look_up, self._at, profile, urgent=urgent)
        await self._under_way.start(self._attempt(profile, request), profile.id)

    async def _launch_update(self, profile_id: int, *, urgent: bool) -> bool:
        """Begin to update a subscriber with all that differs by now, or to look up who was lost; False: no need."""
        read = await self._at.database.read(evaluation.of_profile, self._upkeep.account, profile_id)
        if read is None:
            return False
        meaning, known = read
        now = self._at.clock()
        judged = evaluation.evaluate(known, meaning, now)
        match judged.decision:
            case NeedsLookup(by_email=True):
                await self._look_up(known.profile, urgent=urgent)
                return True
            case NeedsUpdate() as update:
                if not update.send.keys() <= set(update.subscriber.unconfirmed):  # it changed since that was noted
                    await self._record([judged], now)
                send = partial(deliver, self._at, known.profile, update, meaning, urgent=urgent)
            case NeedsSubscriptionUpdate() as update:
                send = partial(deliver_subscriptions, self._at, self._subscriptions, judged, update, meaning)
            case _:
                await self._record([judged], now)
                return False
        writes_to = [each.id for each in known.subscribers]
        await self._under_way.start(self._attempt(known.profile, send), profile_id, writes_to)
        return True

    async def _attempt(self, profile: Profile, request: Callable[[], Awaitable[bool]]) -> None:
        """Send a request for a profile, which says whether it brought news of whom to look at."""
        try:
            if await request():
                self._judged_at = None
        except ProsperStackError as error:
            # It may be this profile alone that fails: the others must not wait behind it.
            until = self._at.clock() + int(person_backoff_seconds(profile.attempts + 1) * SECOND)
            await self._at.database.write(profiles.postpone, profile.id, until, str(error))
            raise
        except DestinationError:
            raise
        except Exception as error:  # noqa: BLE001 -- a fault of ours that this profile shows: the others go on
            await self._postpone_faulty({profile.id: type(error).__name__})

    async def _list_page(self) -> None:
        try:
            await list_page(self._at)
        finally:
            self._listing = False
            self._judged_at = None  # it may have brought news

    async def _sweep_page(self, sweep: Sweep) -> None:
        try:
            await sweep_page(self._at, sweep)
        finally:
            self._judged_at = None  # it may have brought news

    def _ended(self, task: "asyncio.Task[None]", profile_id: int | None) -> None:
        if profile_id in self._passed_over:
            self._passed_over -= {profile_id}
            self._judged_at = None
            self._changed.set()
        error = None if task.cancelled() else task.exception()
        of_one = isinstance(error, ProsperStackUnavailable) or (
            profile_id and isinstance(error, ProsperStackRejected | ProsperStackNotFound)
        )
        if isinstance(error, ProsperStackError) and of_one and not self._at.spender.streaks.must_wait:
            self._log.info("a request failed", reason=reason_of(error))  # it is tried again, and the others go on
        elif isinstance(error, Exception):
            self._failure = self._failure or error
        if self._heed_ends or error is not None:
            self._changed.set()

    async def _judge(self) -> bool:
        """Look at profiles whose time has come, where there may be some; whether there may be more."""
        ticks = self._ticks()
        if self._judged_at is not None and 0 <= ticks - self._judged_at < EVALUATE_EVERY:
            return False
        self._judged_at = ticks
        now = self._at.clock()
        # Who has a request under way is judged by what comes of it, and not by what was known before.
        under_way = self._under_way.profiles()
        page = await self._at.database.read(evaluation.evaluate_due, self._upkeep.account, now, BATCH, under_way)
        if page.evaluations:
            await self._record(page.evaluations, now)
            self._queues.invalidate()
        await self._postpone_faulty(page.faulty)
        self._passed_over = page.passed_over & self._under_way.profiles()
        more = page.more or self._passed_over != page.passed_over
        if more:
            self._judged_at = None
        return more

    async def _postpone_faulty(self, faulty: Mapping[int, str]) -> None:
        """Have profiles wait that a fault of ours keeps from being worked at; by id, with the kind of the error."""
        for profile_id, kind in faulty.items():
            self._log.error("a profile could not be reconciled", profile_id=profile_id, error=kind)
            until = self._at.clock() + FAULTY_WAIT
            await self._at.database.write(profiles.postpone, profile_id, until, f"{kind} (see the log)")

    async def _record(self, found: Sequence[evaluation.Evaluation], now: int) -> None:
        await self._at.database.write(evaluation.record, found, now)
        for each in found:
            if isinstance(each.decision, InSync | Unmatched):
                how = "unchanged" if isinstance(each.decision, InSync) else "unmatched"
                self._at.observer.settled(each.context.profile, how)

    async def _situation(self) -> PlannerInput:
        return await self._queues.planner_input(listing=self._listing, bulk_share=self._bulk_share)

    async def _has_work(self) -> bool:
        return not isinstance(plan(await self._situation()), Wait)

    async def _pause(self, microseconds: int | None, *, heed_ends: bool, deaf_for: int = POLL_PAUSE) -> None:
        """Wait that long, or for news; also for the end of a request under way.

        A flood of news is looked at now and then only.
        """
        deaf = max((self._looked_at or 0) + deaf_for - self._ticks(), 0)
        if microseconds is not None:
            deaf = min(deaf, microseconds)
            microseconds -= deaf
        if deaf:
            await asyncio.sleep(deaf / SECOND)
        self._heed_ends = heed_ends
        if microseconds != 0 and not (heed_ends and deaf):
            with suppress(TimeoutError):
                timeout = None if microseconds is None else microseconds / SECOND
                await asyncio.wait_for(self._changed.wait(), timeout)
        self._heed_ends = False
        if self._changed.is_set():
            self._judged_at = None
