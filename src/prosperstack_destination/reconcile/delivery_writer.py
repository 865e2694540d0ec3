"""Group commit of deliveries: updates that end together are stored in one transaction, for all accounts."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection

from prosperstack_destination.clock import Clock
from prosperstack_destination.errors import LeaseLost, StoreUnavailable
from prosperstack_destination.reconcile.decision import InSync
from prosperstack_destination.reconcile.evaluation import evaluate, load_contexts, record
from prosperstack_destination.reconcile.lease_manager import HeldLease
from prosperstack_destination.reconcile.worker_context import Delivery, DeliveryResult
from prosperstack_destination.store import leases, listing_state, profiles, subscribers
from prosperstack_destination.store.database import UnitOfWork
from prosperstack_destination.store.erasure import queue_remote_erasure
from prosperstack_destination.store.models import Profile
from prosperstack_destination.store.subscribers import AppliedValues

#: Most deliveries in one transaction.
MAX_BATCH: Final = 100
#: Wait of a transaction for more deliveries, in seconds, if another one ended less than `BUSY_SECONDS` before. A
#: rare delivery does not wait.
GATHER_SECONDS: Final = 0.01
BUSY_SECONDS: Final = 0.03


_Result = DeliveryResult | Exception
_Waiting = tuple[Delivery, HeldLease | None, "asyncio.Future[DeliveryResult]"]


class DeliveryWriter:
    """Stores deliveries. While one transaction is written the next one gathers.

    ``ticks`` is a monotonic clock in microseconds.
    """

    def __init__(self, database: UnitOfWork, ticks: Clock) -> None:
        self._database = database
        self._ticks = ticks
        self._waiting: list[_Waiting] = []
        self._task: asyncio.Task[None] | None = None
        self._wrote_at = -1.0

    async def store(self, held: HeldLease | None, delivery: Delivery) -> DeliveryResult:
        """Store a delivery of an account whose lease is held; None: no other replica can hold it.

        Returns once it is on disk. Raises `StoreUnavailable`, and `LeaseLost` where another replica has the lease.
        """
        future: asyncio.Future[DeliveryResult] = asyncio.get_running_loop().create_future()
        self._waiting.append((delivery, held, future))
        if self._task is None:
            self._task = asyncio.create_task(self._write_all(), name="store deliveries")
        return await future

    async def _write_all(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                if loop.time() - self._wrote_at < BUSY_SECONDS:
                    await asyncio.sleep(GATHER_SECONDS)
                batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
                await self._write(batch)
                self._wrote_at = loop.time()
        finally:
            self._task = None

    async def _write(self, batch: Sequence[_Waiting]) -> None:
        """Write a batch. If it fails, halve it until the failing delivery is alone."""
        began_at = self._ticks()
        held_leases = {delivery.profile.account_id: held for delivery, held, _ in batch if held is not None}
        fences = [held.lease for held in held_leases.values()]
        try:
            results = await self._database.write(store_deliveries, [delivery for delivery, _, _ in batch], fences)
        except Exception as error:  # noqa: BLE001 -- one delivery must not fail the others
            if len(batch) > 1 and not isinstance(error, StoreUnavailable):
                middle = len(batch) // 2
                await self._write(batch[:middle])
                await self._write(batch[middle:])
                return
            results = [error] * len(batch)
        for (_, held, future), result in zip(batch, results, strict=True):
            if held is not None and not isinstance(result, Exception):
                held.confirm_before(began_at)
            if not future.done():
                _settle(future, result)


def _settle(future: "asyncio.Future[DeliveryResult]", result: _Result) -> None:
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)


def store_deliveries(
    connection: Connection, deliveries: Sequence[Delivery], fences: Sequence[leases.Lease]
) -> Sequence[_Result]:
    """Store deliveries, except those of accounts whose lease is lost. If a profile was erased, queue its erasure.

    ``fences`` are the leases under which they were sent, one for each account that has one.
    """
    lost = {lease.account_id for lease in fences} - leases.still_held(connection, fences)
    kept = [each for each in deliveries if each.profile.account_id not in lost]
    current = profiles.lock(connection, {each.profile.id for each in kept})
    delivered = [each for each in kept if each.profile.id in current]
    for each in kept:
        if each.profile.id not in current:
            erased = {each.subscriber.id: list(each.sent)}
            queue_remote_erasure(connection, each.profile.account_id, erased, each.asked_at)
    subscribers.mark_all_applied(connection, [_applied(each) for each in delivered])
    listing_state.count_writes(connection, Counter(each.profile.account_id for each in delivered))
    moved = [_move(connection, each) for each in delivered]
    if any(moved):
        current = profiles.lock(connection, current)
    unchanged = [
        (current[each.profile.id], each)
        for each in delivered
        if current[each.profile.id].version == each.profile.version
    ]
    settled = _reevaluate(connection, unchanged)
    return [
        LeaseLost(leases.LOST)
        if each.profile.account_id in lost
        else DeliveryResult(
            settled=each.profile.id in settled, moved=each.moved_to is not None and each.profile.id in current
        )
        for each in deliveries
    ]


def _applied(each: Delivery) -> AppliedValues:
    return AppliedValues(each.profile.account_id, each.subscriber.id, each.sent, each.observed, each.asked_at)


def _move(connection: Connection, delivery: Delivery) -> bool:
    """Store the new email of a subscriber, if it has one; return whether that changed profiles, of both emails."""
    if delivery.moved_to is None:
        return False
    account_id, now = delivery.profile.account_id, delivery.asked_at
    emails = subscribers.upsert_page(connection, account_id, [delivery.moved_to], now)
    profiles.mark_changed(connection, account_id, emails, now)
    return True


def _reevaluate(connection: Connection, delivered: Sequence[tuple[Profile, Delivery]]) -> set[int]:
    """Evaluate profiles after their deliveries, and store the results; return the IDs of those in sync."""
    asked_at = {profile.id: each.asked_at for profile, each in delivered}
    contexts = load_contexts(connection, [(profile, each.mapping) for profile, each in delivered])
    evaluations = [evaluate(context, mapping, asked_at[context.profile.id]) for context, mapping in contexts]
    record(connection, evaluations, max(asked_at.values(), default=0))
    return {each.context.profile.id for each in evaluations if isinstance(each.decision, InSync)}
