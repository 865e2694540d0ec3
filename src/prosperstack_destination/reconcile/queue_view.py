"""View of one account's queues for the planner: heads are read each time, sizes are counted now and then."""

from collections import deque
from collections.abc import Mapping, Set
from dataclasses import dataclass, replace
from typing import Final

from sqlalchemy import Connection

from prosperstack_destination.account_mapping import AccountMapping, load
from prosperstack_destination.clock import Clock
from prosperstack_destination.prosperstack.budget import Budget
from prosperstack_destination.reconcile.evaluation import Evaluation, evaluate_profiles
from prosperstack_destination.reconcile.planner import (
    LookUp,
    Plan,
    PlannerInput,
    SendUpdate,
    Wait,
    debounce,
    lookback,
    plan,
)
from prosperstack_destination.reconcile.worker_context import InFlight, WorkerContext
from prosperstack_destination.store import listing_state, queue
from prosperstack_destination.store.accounts import Account
from prosperstack_destination.store.listing_state import ListingState
from prosperstack_destination.store.models import Lane
from prosperstack_destination.store.queue import QueueSizes, QueueSnapshot, RecentChanges

#: Counts expire after the time of this many requests, or when profiles were evaluated; but counting may take at
#: most one part in `COUNTING_PART` of the time.
COUNT_TTL: Final = 16
COUNTING_PART: Final = 20


@dataclass(frozen=True, slots=True)
class PlannedRequest:
    """Request, or a wait, that the planner chose."""

    request: Plan
    #: Input of the planner.
    state: PlannerInput
    #: Evaluation of the request's profile, or the kind of the error that it raised; None: it is for no profile that
    #: exists.
    evaluation: Evaluation | str | None
    #: The mapping that it was evaluated with.
    mapping: AccountMapping


@dataclass(frozen=True, slots=True)
class PlannedRequests:
    """Requests to send one after the other."""

    requests: deque[PlannedRequest]
    mapping: AccountMapping
    #: True if a profile has to be evaluated first.
    has_due: bool


class QueueView:
    """One account's queues."""

    def __init__(self, ctx: WorkerContext, in_flight: InFlight, ticks: Clock) -> None:
        self._ctx = ctx
        self._in_flight = in_flight
        self._ticks = ticks
        self._counts = QueueSizes()
        self._changes: dict[Lane, tuple[RecentChanges, RecentChanges]] = {}
        self._counted_at: int | None = None
        #: Earliest time of the next count, in ticks.
        self._count_again_at = 0
        #: Profiles were evaluated since the last count.
        self._outdated = False

    def invalidate(self) -> None:
        """Expire the counts, because profiles were evaluated."""
        self._outdated = True

    async def plan(
        self, account: Account, *, limit: int, page_in_flight: bool, bulk_share: float
    ) -> PlannedRequests:
        """Plan up to ``limit`` requests, without profiles that have a request in flight.

        The profiles are read and evaluated in the same transaction.
        """
        now, ticks, rate_limiter = self._ctx.clock(), self._ticks(), self._ctx.rate_limiter
        if self._is_outdated(ticks):
            self._outdated = False
            self._counts, self._changes = await self._ctx.database.read(
                _count, self._ctx.account_id, now, rate_limiter.budget
            )
            self._counted_at = ticks
            self._count_again_at = ticks + COUNTING_PART * (self._ticks() - ticks)
        state = PlannerInput(
            QueueSnapshot(),
            ListingState(),
            rate_limiter.budget,
            rate_limiter.history,
            {},
            page_in_flight,
            now,
            ticks,
            bulk_share,
        )
        in_flight = self._in_flight.profiles()
        return await self._ctx.database.read(
            plan_ahead, account, state, self._counts, self._changes, in_flight, limit
        )

    def _is_outdated(self, ticks: int) -> bool:
        """Return whether the queues have to be counted again."""
        if self._counted_at is None:
            return True
        expired = self._outdated or ticks - self._counted_at >= COUNT_TTL * self._ctx.rate_limiter.budget.interval
        return expired and ticks >= self._count_again_at


def _count(
    connection: Connection, account_id: str, now: int, budget: Budget
) -> tuple[QueueSizes, dict[Lane, tuple[RecentChanges, RecentChanges]]]:
    """Return the queue sizes, and the recent changes of lanes that may be debounced, in a short and a long time."""
    counts = queue.count(connection, account_id, now)
    changes: dict[Lane, tuple[RecentChanges, RecentChanges]] = {}
    for lane, size in ((Lane.LIVE, counts.live), (Lane.BULK, counts.bulk)):
        if (spans := lookback(size, budget)) is not None:
            changes[lane] = (
                queue.recent(connection, account_id, lane, now - spans.short),
                queue.recent(connection, account_id, lane, now - spans.long),
            )
    return counts, changes


def plan_ahead(
    connection: Connection,
    account: Account,
    state: PlannerInput,
    counts: QueueSizes,
    changes: Mapping[Lane, tuple[RecentChanges, RecentChanges]],
    in_flight: Set[int],
    limit: int,
) -> PlannedRequests:
    """Read the queues into ``state``, plan up to ``limit`` requests in order, and evaluate their profiles.

    A request that changes what follows, such as a page of a listing, is the last one.
    """
    mapping, listing = load(connection, account), listing_state.read(connection, account.id)
    waiting = queue.waiting(connection, account.id, state.now, in_flight, limit=limit, as_of=listing.as_of)
    state = replace(state, queues=waiting.snapshot(counts), listing=listing)
    queues = {Lane.LIVE: state.queues.live, Lane.BULK: state.queues.bulk}
    remaining = {
        lane: debounce(queues[lane], short, long, state.budget, state.now)
        for lane, (short, long) in changes.items()
    }
    state = replace(state, debouncing={lane: wait for lane, wait in remaining.items() if wait is not None})
    planned: list[tuple[Plan, PlannerInput]] = []
    taken: set[int] = set()
    while len(planned) < limit:
        request = plan(state)
        if not (planned and isinstance(request, Wait)):
            planned.append((request, state))
        if not isinstance(request, SendUpdate | LookUp):
            break
        taken.add(request.profile_id)
        if waiting.is_spent(taken):
            break
        state = replace(state, queues=waiting.snapshot(counts, taken), history=state.history.after(request, state))
    evaluations = evaluate_profiles(connection, taken, mapping, state.now)
    return PlannedRequests(
        deque(
            PlannedRequest(request, used, evaluations.get(_profile_id(request)), mapping)
            for request, used in planned
        ),
        mapping,
        waiting.has_due,
    )


def _profile_id(request: Plan) -> int | None:
    return request.profile_id if isinstance(request, SendUpdate | LookUp) else None
