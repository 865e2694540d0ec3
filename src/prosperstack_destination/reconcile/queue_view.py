"""What one account has waiting: the ends of its queues are looked up, their sizes counted now and then."""

from typing import Final

from sqlalchemy import Connection

from prosperstack_destination.clock import Clock
from prosperstack_destination.prosperstack.budget import Budget
from prosperstack_destination.reconcile.in_flight import InFlight
from prosperstack_destination.reconcile.planner import PlannerInput, debounce, lookback
from prosperstack_destination.reconcile.worker_context import WorkerContext
from prosperstack_destination.store import listing_state as directories
from prosperstack_destination.store import queue
from prosperstack_destination.store.listing_state import ListingState
from prosperstack_destination.store.models import Lane
from prosperstack_destination.store.queue import QueueSizes, QueueSnapshot, RecentChanges

#: Queues are counted anew after the time of so many requests, and when profiles were judged; but counting may take
#: no more than one part of so many of the time.
COUNT_TTL: Final = 16
COUNTING_PART: Final = 20


class QueueView:
    """An account's queues."""

    def __init__(self, at: WorkerContext, under_way: InFlight, ticks: Clock) -> None:
        self._at = at
        self._under_way = under_way
        self._ticks = ticks
        self._counts = QueueSizes()
        self._changes: dict[Lane, tuple[RecentChanges, RecentChanges]] = {}
        self._counted_at: int | None = None
        #: When they may be counted again.
        self._count_again_at = 0
        #: Profiles were judged since.
        self._outdated = False

    def invalidate(self) -> None:
        """Profiles were judged: the counts are not true any more."""
        self._outdated = True

    async def planner_input(self, *, page_in_flight: bool, bulk_share: float) -> PlannerInput:
        """What the planner goes by now, but for the profiles under way."""
        now, ticks, spender = self._at.clock(), self._ticks(), self._at.rate_limiter
        if self._is_outdated(ticks):
            self._outdated = False
            self._counts, self._changes = await self._at.database.read(
                _count, self._at.account_id, now, spender.budget
            )
            self._counted_at = ticks
            self._count_again_at = ticks + COUNTING_PART * (self._ticks() - ticks)
        under_way = self._under_way.profiles()
        pending, directory = await self._at.database.read(
            _pending, self._at.account_id, now, under_way, self._counts
        )
        queues = {Lane.LIVE: pending.live, Lane.BULK: pending.bulk}
        longer = {
            lane: debounce(queues[lane], short, long, spender.budget, now)
            for lane, (short, long) in self._changes.items()
        }
        gathers = {lane: wait for lane, wait in longer.items() if wait is not None}
        return PlannerInput(
            pending, directory, spender.budget, spender.history, gathers, page_in_flight, now, ticks, bulk_share
        )

    def _is_outdated(self, ticks: int) -> bool:
        """Whether queues have to be counted anew."""
        if self._counted_at is None:
            return True
        old = self._outdated or ticks - self._counted_at >= COUNT_TTL * self._at.rate_limiter.budget.interval
        return old and ticks >= self._count_again_at


def _count(
    connection: Connection, account_id: str, now: int, budget: Budget
) -> tuple[QueueSizes, dict[Lane, tuple[RecentChanges, RecentChanges]]]:
    """How many wait; and, of the lanes that may gather, what changed lately: in a short time and in a long one."""
    counts = queue.count(connection, account_id, now)
    changes: dict[Lane, tuple[RecentChanges, RecentChanges]] = {}
    for lane, size in ((Lane.LIVE, counts.live), (Lane.BULK, counts.bulk)):
        if (back := lookback(size, budget)) is not None:
            changes[lane] = (
                queue.recent(connection, account_id, lane, now - back.short),
                queue.recent(connection, account_id, lane, now - back.long),
            )
    return counts, changes


def _pending(
    connection: Connection, account_id: str, now: int, under_way: set[int], counts: QueueSizes
) -> tuple[QueueSnapshot, ListingState]:
    """One view of what waits, and of how far the directory is."""
    return queue.snapshot(connection, account_id, now, under_way, counts), directories.read(connection, account_id)
