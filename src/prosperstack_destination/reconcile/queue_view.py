"""View of one account's queues for the planner: heads are read each time, sizes are counted now and then."""

from typing import Final

from sqlalchemy import Connection

from prosperstack_destination.clock import Clock
from prosperstack_destination.prosperstack.budget import Budget
from prosperstack_destination.reconcile.planner import PlannerInput, debounce, lookback
from prosperstack_destination.reconcile.worker_context import InFlight, WorkerContext
from prosperstack_destination.store import listing_state, queue
from prosperstack_destination.store.listing_state import ListingState
from prosperstack_destination.store.models import Lane
from prosperstack_destination.store.queue import QueueSizes, QueueSnapshot, RecentChanges

#: Counts expire after the time of this many requests, or when profiles were evaluated; but counting may take at
#: most one part in `COUNTING_PART` of the time.
COUNT_TTL: Final = 16
COUNTING_PART: Final = 20


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

    async def planner_input(self, *, page_in_flight: bool, bulk_share: float) -> PlannerInput:
        """Return the planner's input, without profiles that have a request in flight."""
        now, ticks, rate_limiter = self._ctx.clock(), self._ticks(), self._ctx.rate_limiter
        if self._is_outdated(ticks):
            self._outdated = False
            self._counts, self._changes = await self._ctx.database.read(
                _count, self._ctx.account_id, now, rate_limiter.budget
            )
            self._counted_at = ticks
            self._count_again_at = ticks + COUNTING_PART * (self._ticks() - ticks)
        in_flight = self._in_flight.profiles()
        snapshot, listing = await self._ctx.database.read(
            _snapshot, self._ctx.account_id, now, in_flight, self._counts
        )
        queues = {Lane.LIVE: snapshot.live, Lane.BULK: snapshot.bulk}
        remaining = {
            lane: debounce(queues[lane], short, long, rate_limiter.budget, now)
            for lane, (short, long) in self._changes.items()
        }
        debouncing = {lane: wait for lane, wait in remaining.items() if wait is not None}
        return PlannerInput(
            snapshot,
            listing,
            rate_limiter.budget,
            rate_limiter.history,
            debouncing,
            page_in_flight,
            now,
            ticks,
            bulk_share,
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


def _snapshot(
    connection: Connection, account_id: str, now: int, in_flight: set[int], counts: QueueSizes
) -> tuple[QueueSnapshot, ListingState]:
    """Return queues and listing state from one transaction."""
    return queue.snapshot(connection, account_id, now, in_flight, counts), listing_state.read(
        connection, account_id
    )
