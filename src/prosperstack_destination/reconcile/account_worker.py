"""Worker of one account: evaluate due profiles, plan the next request, send it, until nothing is left to do."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Final

import structlog

from prosperstack_destination.account_mapping import AccountMapping
from prosperstack_destination.clock import SECOND, Clock
from prosperstack_destination.errors import (
    DestinationError,
    ProsperStackError,
    ProsperStackNotFound,
    ProsperStackRateLimited,
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
from prosperstack_destination.reconcile.delivery_writer import DeliveryWriter
from prosperstack_destination.reconcile.discovery import list_page, look_up, sweep_page
from prosperstack_destination.reconcile.maintenance import AccountMaintenance
from prosperstack_destination.reconcile.planner import (
    BULK_SHARE,
    ListPage,
    LookUp,
    SendErasure,
    SendUpdate,
    SweepPage,
    Wait,
)
from prosperstack_destination.reconcile.queue_view import PlannedRequest, QueueView
from prosperstack_destination.reconcile.rate_limiter import RateLimiter
from prosperstack_destination.reconcile.redaction import reason_of
from prosperstack_destination.reconcile.subscriptions import SubscriptionUpdater
from prosperstack_destination.reconcile.worker_context import (
    InFlight,
    NullReconcileObserver,
    ReconcileObserver,
    StoreDelivery,
    WorkerContext,
)
from prosperstack_destination.store import listing_state, profiles, remote_erasures
from prosperstack_destination.store.accounts import Account
from prosperstack_destination.store.database import UnitOfWork
from prosperstack_destination.store.listing_state import Sweep
from prosperstack_destination.store.models import Profile

log = structlog.get_logger(__name__)

#: Profiles that are evaluated in one transaction.
BATCH: Final = 200
#: Most requests that are planned at once, and the time that they may take at full speed, in microseconds.
MAX_AHEAD: Final = 32
AHEAD: Final = SECOND // 10
#: Age at which a plan is made again, in microseconds.
MAX_PLAN_AGE: Final = 1 * SECOND
#: Wait of a profile that an unexpected error keeps from being reconciled, in microseconds.
FAULTY_PROFILE_WAIT: Final = 60 * SECOND
#: Interval between two evaluations of due profiles while no change is signalled, in microseconds.
EVALUATE_EVERY: Final = 1 * SECOND
#: Part of a wait that a timer may be short by, in microseconds.
TIMER_TOLERANCE: Final = SECOND // 1000
#: Shortest time between two evaluations, however fast changes arrive, in microseconds.
MIN_EVALUATE_INTERVAL: Final = SECOND // 20
#: The same bound while the budget is spent: nothing could be sent sooner.
MIN_INTERVAL_WITHOUT_BUDGET: Final = SECOND // 4


class AccountWorker:
    """Sends one account's requests. At most one worker may run for an account at a time.

    Every write is safe to repeat and names the version of the profile that it settles: a change while a request is
    in flight stays due. ``changed`` is set when the account changed or the service stops.
    ``store_delivery`` stores its deliveries together with those of other accounts; None: by themselves.
    """

    def __init__(
        self,
        account: Account,
        database: UnitOfWork,
        prosperstack: ProsperStackClient,
        rate_limiter: RateLimiter,
        *,
        clock: Clock,
        ticks: Clock,
        changed: asyncio.Event | None = None,
        bulk_share: float = BULK_SHARE,
        stopping: Callable[[], bool] = lambda: False,
        observer: ReconcileObserver | None = None,
        store_delivery: StoreDelivery | None = None,
    ) -> None:
        self._log = log.bind(account=account.fingerprint)
        self._ctx = WorkerContext(
            account.id,
            database,
            prosperstack,
            rate_limiter,
            clock,
            self._log,
            observer or NullReconcileObserver(),
            store_delivery or partial(DeliveryWriter(database, ticks).store, None),
        )
        self._ticks = ticks
        self._changed = changed or asyncio.Event()
        self._bulk_share = bulk_share
        self._stopping = stopping
        self._in_flight = InFlight(self._on_request_end)
        self._page_in_flight = False
        #: True if the end of a request wakes the worker.
        self._wake_on_end = False
        self._woken_at: int | None = None
        self._failure: Exception | None = None
        self._evaluated_at: int | None = None
        #: Due profiles that were not evaluated because they had a request in flight.
        self._skipped: Set[int] = frozenset()
        self._queues = QueueView(self._ctx, self._in_flight, ticks)
        self._planned: deque[PlannedRequest] = deque()
        self._planned_at = 0
        self._subscriptions = SubscriptionUpdater(self._ctx)
        self._maintenance = AccountMaintenance(account, self._ctx, self._subscriptions, ticks)

    async def run(self) -> None:
        """Work until nothing is left to do now, or the service stops.

        Raises `ProsperStackError` where the whole account has to wait.
        """
        try:
            while not self._stopping() and self._failure is None:
                self._changed.clear()
                self._woken_at = self._ticks()
                await self._maintenance.run_if_due()
                more = await self._evaluate_due()
                if await self._step() or more or self._evaluated_at is None:
                    continue  # also where a request ended meanwhile and made profiles due
                if not self._in_flight:
                    await self._maintenance.finish()
                    return
                await self._pause(None, wake_on_end=True)
        except asyncio.CancelledError:
            await self._in_flight.drain(cancel=True)
            raise
        finally:
            await self._in_flight.drain()
        if self._failure is not None:
            raise self._failure

    async def _step(self) -> bool:
        """Send the best request, or wait for one; return whether there may be more to do."""
        limiter = self._ctx.rate_limiter
        if len(self._in_flight) >= limiter.max_in_flight:
            await self._pause(None, wake_on_end=True)
            return True
        if (wait := limiter.wait(urgent=True)) and await self._has_work():
            await self._pause(wait, wake_on_end=False, min_interval=MIN_INTERVAL_WITHOUT_BUDGET)
            return True
        planned = await self._next()
        request = planned.request
        if isinstance(request, Wait):
            self._planned.clear()
            if request.microseconds is None:
                return False
            await self._pause(request.microseconds, wake_on_end=True)
            return True
        urgent = isinstance(request, SendUpdate | LookUp) and request.urgent
        if wait := limiter.wait(urgent=urgent):
            await self._pause(wait, wake_on_end=False)
            if self._changed.is_set() or self._stopping() or limiter.wait(urgent=urgent) > TIMER_TOLERANCE:
                return True
            planned = await self._next()  # the same one, or another after a long wait
            if planned.request != request:
                return True
        self._planned.popleft()
        try:
            launched = await self._launch(planned)
        except DestinationError:
            raise
        except Exception as error:
            if not isinstance(request, SendUpdate | LookUp):
                raise
            await self._postpone_faulty({request.profile_id: type(error).__name__})
            return True
        if launched:
            state = replace(planned.state, ticks=self._ticks())
            limiter.history = limiter.history.after(request, state)
        return True

    async def _next(self) -> PlannedRequest:
        """Return the next planned request. A plan is made again when it is used up or old."""
        ticks = self._ticks()
        if not self._planned or ticks - self._planned_at > MAX_PLAN_AGE:
            limiter = self._ctx.rate_limiter
            room = limiter.max_in_flight - len(self._in_flight)
            plan = await self._queues.plan(
                self._maintenance.account,
                limit=max(min(MAX_AHEAD, AHEAD // limiter.budget.interval, room), 1),
                page_in_flight=self._page_in_flight,
                bulk_share=self._bulk_share,
            )
            self._planned, self._planned_at = plan.requests, ticks
            self._maintenance.mapping = plan.mapping
            if not plan.has_due:
                self._evaluated_at = None if self._evaluated_at is None else ticks
            elif self._evaluated_at is not None and ticks - self._evaluated_at >= MIN_EVALUATE_INTERVAL:
                self._evaluated_at = None
        return self._planned[0]

    async def _launch(self, planned: PlannedRequest) -> bool:
        """Start a request; return False where it is not needed any more."""
        match planned.request:
            case SendErasure():
                erasures = await self._ctx.database.read(
                    remote_erasures.due, self._ctx.account_id, self._ctx.clock(), 1
                )
                if not erasures:
                    return False
                # One at a time: earlier writes arrive before the erasure, and later ones after it.
                await self._in_flight.wait_for_writes(erasures[0].subscriber_id)
                await erase_remote(self._ctx, self._subscriptions, erasures[0])
            case ListPage():
                self._page_in_flight = True
                await self._in_flight.start(self._list_page())
            case SweepPage(next_in):
                now = self._ctx.clock()
                sweep = await self._ctx.database.write(
                    listing_state.begin_sweep_page, self._ctx.account_id, now, now + next_in
                )
                await self._in_flight.start(self._sweep_page(sweep))
            case LookUp() | SendUpdate() as request:
                return await self._launch_for_profile(request, planned.evaluation, planned.mapping)
        return True

    async def _launch_for_profile(
        self, request: LookUp | SendUpdate, evaluated: evaluation.Evaluation | str | None, mapping: AccountMapping
    ) -> bool:
        if isinstance(evaluated, str):
            await self._postpone_faulty({request.profile_id: evaluated})
            return False
        if evaluated is None:
            return False
        if isinstance(request, SendUpdate):
            return await self._launch_update(evaluated, mapping, urgent=request.urgent)
        await self._look_up(evaluated.context.profile, urgent=request.urgent)
        return True

    async def _look_up(self, profile: Profile, *, urgent: bool) -> None:
        request = partial(look_up, self._ctx, profile, urgent=urgent)
        await self._in_flight.start(self._attempt(profile, request), profile.id)

    async def _launch_update(
        self, evaluated: evaluation.Evaluation, mapping: AccountMapping, *, urgent: bool
    ) -> bool:
        """Start an update of all that differs now, or a lookup of lost subscribers; return False for neither."""
        context, now = evaluated.context, self._ctx.clock()
        match evaluated.decision:
            case NeedsLookup(by_email=True):
                await self._look_up(context.profile, urgent=urgent)
                return True
            case NeedsUpdate() as update:
                if not update.send.keys() <= set(update.subscriber.unconfirmed):  # not marked as unconfirmed yet
                    await self._record([evaluated], now)
                send = partial(deliver, self._ctx, context.profile, update, mapping, urgent=urgent)
            case NeedsSubscriptionUpdate() as update:
                send = partial(deliver_subscriptions, self._ctx, self._subscriptions, evaluated, update, mapping)
            case _:
                await self._record([evaluated], now)
                return False
        writes_to = [each.id for each in context.subscribers]
        await self._in_flight.start(self._attempt(context.profile, send), context.profile.id, writes_to)
        return True

    async def _attempt(self, profile: Profile, request: Callable[[], Awaitable[bool]]) -> None:
        """Send a profile's request. The request returns whether it made profiles due."""
        try:
            if await request():
                self._evaluated_at = None
        except ProsperStackError as error:
            # This profile alone may fail: the others must not wait behind it.
            until = self._ctx.clock() + int(person_backoff_seconds(profile.attempts + 1) * SECOND)
            await self._ctx.database.write(profiles.postpone, profile.id, until, str(error))
            raise
        except DestinationError:
            raise
        except Exception as error:  # noqa: BLE001 -- an unexpected error for one profile must not stop the others
            await self._postpone_faulty({profile.id: type(error).__name__})

    async def _list_page(self) -> None:
        try:
            await list_page(self._ctx)
        finally:
            self._page_in_flight = False
            self._evaluated_at = None  # the page may have made profiles due

    async def _sweep_page(self, sweep: Sweep) -> None:
        try:
            await sweep_page(self._ctx, sweep)
        finally:
            self._evaluated_at = None  # the page may have made profiles due

    def _on_request_end(self, task: "asyncio.Task[None]", profile_id: int | None) -> None:
        if profile_id in self._skipped:
            self._skipped -= {profile_id}
            self._evaluated_at = None
            self._changed.set()
        error = None if task.cancelled() else task.exception()
        of_one_profile = isinstance(error, ProsperStackUnavailable) or (
            profile_id and isinstance(error, ProsperStackRejected | ProsperStackNotFound | ProsperStackRateLimited)
        )
        if isinstance(error, ProsperStackError) and of_one_profile and not self._ctx.rate_limiter.streaks.must_wait:
            self._log.info("a request failed", reason=reason_of(error))  # it is retried; the others continue
        elif isinstance(error, Exception):
            self._failure = self._failure or error
        if self._wake_on_end or error is not None:
            self._changed.set()

    async def _evaluate_due(self) -> bool:
        """Evaluate due profiles, unless that was done just now; return whether there may be more."""
        ticks = self._ticks()
        if self._evaluated_at is not None and 0 <= ticks - self._evaluated_at < EVALUATE_EVERY:
            return False
        self._evaluated_at = ticks
        now = self._ctx.clock()
        self._planned.clear()
        # A profile with a request in flight is evaluated by its result, not by the state from before it.
        in_flight = self._in_flight.profiles()
        page = await self._ctx.database.read(
            evaluation.evaluate_due, self._maintenance.account, now, BATCH, in_flight
        )
        if page.evaluations:
            await self._record(page.evaluations, now)
            self._queues.invalidate()
        await self._postpone_faulty(page.faulty)
        self._skipped = page.skipped & self._in_flight.profiles()
        more = page.more or self._skipped != page.skipped
        if more:
            self._evaluated_at = None
        return more

    async def _postpone_faulty(self, faulty: Mapping[int, str]) -> None:
        """Postpone profiles that raised an unexpected error; ``faulty`` maps their ids to the error's kind."""
        for profile_id, error_kind in faulty.items():
            self._log.error("a profile could not be reconciled", profile_id=profile_id, error=error_kind)
            until = self._ctx.clock() + FAULTY_PROFILE_WAIT
            await self._ctx.database.write(profiles.postpone, profile_id, until, f"{error_kind} (see the log)")

    async def _record(self, evaluations: Sequence[evaluation.Evaluation], now: int) -> None:
        await self._ctx.database.write(evaluation.record, evaluations, now)
        for evaluated in evaluations:
            if isinstance(evaluated.decision, InSync | Unmatched):
                outcome = "unchanged" if isinstance(evaluated.decision, InSync) else "unmatched"
                self._ctx.observer.settled(evaluated.context.profile, outcome)

    async def _has_work(self) -> bool:
        return not isinstance((await self._next()).request, Wait)

    async def _pause(
        self, microseconds: int | None, *, wake_on_end: bool, min_interval: int = MIN_EVALUATE_INTERVAL
    ) -> None:
        """Wait for the time, for a change, or, with ``wake_on_end``, for the end of a request in flight.

        Changes within ``min_interval`` of the last evaluation are handled together. Times in microseconds.
        """
        min_wait = max((self._woken_at or 0) + min_interval - self._ticks(), 0)
        if microseconds is not None:
            min_wait = min(min_wait, microseconds)
            microseconds -= min_wait
        if min_wait:
            await asyncio.sleep(min_wait / SECOND)
        self._wake_on_end = wake_on_end
        if microseconds != 0 and not (wake_on_end and min_wait):
            with suppress(TimeoutError):
                timeout = None if microseconds is None else microseconds / SECOND
                await asyncio.wait_for(self._changed.wait(), timeout)
        self._wake_on_end = False
        if self._changed.is_set():
            self._evaluated_at = None
