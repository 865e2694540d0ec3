"""Deliveries that end together, and the plan of several requests."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Concatenate, ParamSpec, TypeVar

import pytest
from sqlalchemy import Connection, update

from prosperstack_destination.account_mapping import AccountMapping, dump_catalog, load
from prosperstack_destination.clock import SECOND
from prosperstack_destination.errors import LeaseLost, StoreUnavailable
from prosperstack_destination.mapping.catalog import Catalog, Property, PropertyType
from prosperstack_destination.prosperstack.budget import Budget
from prosperstack_destination.reconcile import evaluation
from prosperstack_destination.reconcile.delivery_writer import DeliveryWriter
from prosperstack_destination.reconcile.lease_manager import HeldLease
from prosperstack_destination.reconcile.planner import PlannerInput, SendUpdate, SpendHistory
from prosperstack_destination.reconcile.queue_view import plan_ahead
from prosperstack_destination.reconcile.worker_context import Delivery, DeliveryResult
from prosperstack_destination.store import accounts, leases, listing_state, profiles, remote_erasures, tables
from prosperstack_destination.store import subscribers as subscriber_rows
from prosperstack_destination.store.accounts import Account
from prosperstack_destination.store.database import Database
from prosperstack_destination.store.leases import Lease
from prosperstack_destination.store.listing_state import ListingState
from prosperstack_destination.store.models import Profile, Status
from prosperstack_destination.store.queue import QueueSizes, QueueSnapshot
from prosperstack_destination.store.subscribers import SubscriberSnapshot
from support.accounts import open_account
from support.clocks import NEW_YEAR, SetClock
from support.intake import identify, stored, take

pytestmark = pytest.mark.anyio

P = ParamSpec("P")
T = TypeVar("T")

CATALOG = Catalog([Property("plan", "Plan", PropertyType.TEXT)])
NOW = NEW_YEAR + SECOND


class Counting:
    """A database that counts transactions, and may fail them."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.writes = 0
        self.error: Exception | None = None

    async def write(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        self.writes += 1
        if self.error is not None:
            raise self.error
        return await self.database.write(work, *args, **kwargs)

    async def read(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await self.database.read(work, *args, **kwargs)


async def prepare(database: Database, account_id: str, emails: Sequence[str]) -> Account:
    """Open an account whose profiles all wait for an update of one subscriber each."""
    await database.write(open_account, account_id)
    await database.write(accounts.set_catalog, account_id, dump_catalog(CATALOG), NOW)
    account = await database.read(accounts.get, account_id)
    assert account is not None
    for email in emails:
        await database.write(take, identify(email, account=account_id, plan="pro"))
        snapshot = SubscriberSnapshot(f"subr_{email}", email, {})
        await database.write(subscriber_rows.replace_for_email, account_id, email, [snapshot], NOW)
    page = await database.read(evaluation.evaluate_due, account, NOW, 100, set())
    await database.write(evaluation.record, page.evaluations, NOW)
    return account


async def delivery(database: Database, account: Account, email: str, **changed: Any) -> Delivery:
    """An update that ProsperStack applied."""
    mapping = await database.read(load, account)
    profile = await database.read(stored, email, account.id)
    [subscriber] = await database.read(subscriber_rows.with_email, account.id, email)
    sent = Delivery(profile, subscriber, {"plan": "pro"}, {"plan": "pro"}, None, mapping, NOW)
    return replace(sent, **changed)


async def state(database: Database, account: Account, email: str) -> tuple[Status, dict[str, Any], Sequence[str]]:
    profile = await database.read(stored, email, account.id)
    [subscriber] = await database.read(subscriber_rows.with_email, account.id, email)
    return profile.status, dict(subscriber.applied), sorted(subscriber.unconfirmed)


async def store(writer: DeliveryWriter, *sent: Delivery) -> list[DeliveryResult | BaseException]:
    return await asyncio.gather(*(writer.store(None, each) for each in sent), return_exceptions=True)


SETTLED = DeliveryResult(settled=True, moved=False)
State = tuple[Status, dict[str, Any], Sequence[str]]
DELIVERED: State = (Status.IN_SYNC, {"plan": "pro"}, [])
WAITING: State = (Status.READY, {}, ["plan"])
START = PlannerInput(
    QueueSnapshot(),
    ListingState(),
    Budget(reserve=0.1),
    SpendHistory(),
    debouncing={},
    page_in_flight=False,
    now=NOW,
    ticks=0,
)


async def test_deliveries_that_end_together_share_a_transaction(database: Database) -> None:
    """Deliveries of two accounts are stored in one transaction, each with its own account."""
    one = await prepare(database, "acct_1", ["a@b.c", "b@b.c"])
    two = await prepare(database, "acct_2", ["a@b.c"])
    counting = Counting(database)
    sent = [await delivery(database, account, email) for account, email in ((one, "a@b.c"), (two, "a@b.c"))]

    results = await store(DeliveryWriter(counting, SetClock()), *sent)

    assert results == [SETTLED, SETTLED]
    assert counting.writes == 1
    assert await state(database, one, "a@b.c") == await state(database, two, "a@b.c") == DELIVERED
    assert await state(database, one, "b@b.c") == WAITING
    for account in (one, two):
        assert (await database.read(listing_state.read, account.id)).writes == 1


async def test_lost_lease_fails_its_own_deliveries_alone(database: Database) -> None:
    """A delivery under a lost lease stores nothing and raises `LeaseLost`; others of the transaction are stored."""
    one = await prepare(database, "acct_1", ["a@b.c"])
    two = await prepare(database, "acct_2", ["a@b.c"])
    clock = SetClock()
    await database.write(leases.store, [Lease("acct_1", "r2", 4, NEW_YEAR), Lease("acct_2", "r1", 3, NEW_YEAR)])
    held = [HeldLease(Lease(each.id, "r1", 3, NEW_YEAR), NEW_YEAR + SECOND, clock) for each in (one, two)]
    for each in held:
        with each.guard("PATCH", "https://api.prosperstack.test/v1/subscribers/subr_1"):
            pass
    clock.advance(1)
    writer = DeliveryWriter(database, clock)
    sent = [await delivery(database, account, "a@b.c") for account in (one, two)]

    results = await asyncio.gather(
        *(writer.store(lease, each) for lease, each in zip(held, sent, strict=True)), return_exceptions=True
    )

    assert isinstance(results[0], LeaseLost)
    assert results[1] == SETTLED
    assert (await state(database, one, "a@b.c"), await state(database, two, "a@b.c")) == (WAITING, DELIVERED)
    assert (held[0].unconfirmed, held[1].unconfirmed) == (["subr_1"], [])


async def test_erased_and_changed_profiles_are_not_settled(database: Database) -> None:
    """A value sent for an erased profile is queued for erasure; a profile that changed meanwhile stays due."""
    account = await prepare(database, "acct_1", ["a@b.c", "b@b.c", "c@b.c"])
    sent = [await delivery(database, account, email) for email in ("a@b.c", "b@b.c", "c@b.c")]
    await database.write(profiles.erase, account.id, ["a@b.c"])
    await database.write(take, identify("b@b.c", at=NOW, received_at=NOW, plan="free"))

    results = await store(DeliveryWriter(database, SetClock()), *sent)

    assert results == [DeliveryResult(settled=False, moved=False)] * 2 + [SETTLED]
    [erasure] = await database.read(remote_erasures.due, account.id, NOW, 10)
    assert (erasure.subscriber_id, list(erasure.properties)) == ("subr_a@b.c", ["plan"])
    assert (await state(database, account, "b@b.c"))[:2] == (Status.PENDING, {"plan": "pro"})
    assert await state(database, account, "c@b.c") == DELIVERED


async def test_moved_subscriber_makes_both_profiles_due(database: Database) -> None:
    """A subscriber with another email now makes the profiles of both emails due, also one that was sent to."""
    account = await prepare(database, "acct_1", ["a@b.c", "b@b.c"])
    moved = SubscriberSnapshot("subr_a@b.c", "b@b.c", {"plan": "pro"})
    sent = [await delivery(database, account, "a@b.c", moved_to=moved), await delivery(database, account, "b@b.c")]

    results = await store(DeliveryWriter(database, SetClock()), *sent)

    assert results == [DeliveryResult(settled=False, moved=True), DeliveryResult(settled=False, moved=False)]
    due = await database.read(profiles.due, account.id, NOW, None, 10)
    assert sorted(profile.email for profile in due) == ["a@b.c", "b@b.c"]


async def test_two_updates_of_one_subscriber_are_both_applied(database: Database) -> None:
    """Two deliveries to one subscriber in a transaction keep the values of both."""
    account = await prepare(database, "acct_1", ["a@b.c", "b@b.c"])
    first = await delivery(database, account, "a@b.c")
    second = await delivery(database, account, "b@b.c", subscriber=first.subscriber, sent={"seats": 5})

    await store(DeliveryWriter(database, SetClock()), first, second)

    assert (await state(database, account, "a@b.c"))[1] == {"plan": "pro", "seats": 5}


class _Broken:
    """A compiled mapping that fails."""

    def project(self, _: object) -> None:
        raise RuntimeError


async def test_faulty_delivery_fails_alone(database: Database) -> None:
    """An unexpected error of one delivery does not fail the others of its transaction."""
    emails = ["a@b.c", "b@b.c", "c@b.c", "d@b.c"]
    account = await prepare(database, "acct_1", emails)
    sent = [await delivery(database, account, email) for email in emails]
    broken: Any = _Broken()
    mapping: AccountMapping = replace(sent[2].mapping, compiled=broken)

    results = await store(
        DeliveryWriter(database, SetClock()), *sent[:2], replace(sent[2], mapping=mapping), sent[3]
    )

    assert [type(each) for each in results] == [DeliveryResult, DeliveryResult, RuntimeError, DeliveryResult]
    assert await state(database, account, "d@b.c") == DELIVERED


async def test_outage_of_the_database_fails_the_batch_once(sqlite: Database) -> None:
    """While the database is unavailable each delivery fails, after one attempt; later ones are stored."""
    account = await prepare(sqlite, "acct_1", ["a@b.c", "b@b.c"])
    counting = Counting(sqlite)
    counting.error = StoreUnavailable("it is full", retry_after=5)
    writer = DeliveryWriter(counting, SetClock())
    sent = [await delivery(sqlite, account, email) for email in ("a@b.c", "b@b.c")]

    failed = await store(writer, *sent)
    attempts, counting.error = counting.writes, None

    assert [type(each) for each in failed] == [StoreUnavailable, StoreUnavailable]
    assert attempts == 1
    assert await store(writer, *sent) == [SETTLED, SETTLED]


async def test_plan_ahead_equals_plans_one_by_one(database: Database) -> None:
    """Several requests planned at once are those that are planned one after the other, in both lanes."""
    emails = [f"{number}@b.c" for number in range(8)]
    account = await prepare(database, "acct_1", emails)
    await database.write(_put_into_bulk, emails[::2])
    counts = QueueSizes(live=4, bulk=4)

    together = await database.read(plan_ahead, account, START, counts, {}, set(), 6)
    one_by_one, current, taken = [], START, set[int]()
    for _ in range(6):
        [planned] = (await database.read(plan_ahead, account, current, counts, {}, taken, 1)).requests
        assert isinstance(planned.request, SendUpdate)
        one_by_one.append(planned.request)
        current = replace(current, history=current.history.after(planned.request, planned.state))
        taken = {*taken, planned.request.profile_id}

    assert [each.request for each in together.requests] == one_by_one[: len(together.requests)]
    assert len(together.requests) >= 4
    assert not together.has_due
    evaluated = [each.evaluation for each in together.requests]
    assert all(isinstance(each, evaluation.Evaluation) for each in evaluated)


async def test_plan_tells_of_profiles_to_evaluate(database: Database) -> None:
    """A plan says whether a changed profile has to be evaluated, but not one with a request in flight."""
    account = await prepare(database, "acct_1", ["a@b.c"])
    await database.write(take, identify("b@b.c", at=NOW, received_at=NOW, plan="free"))
    changed: Profile = await database.read(stored, "b@b.c")

    due = await database.read(plan_ahead, account, START, QueueSizes(live=1), {}, set(), 4)
    in_flight = await database.read(plan_ahead, account, START, QueueSizes(live=1), {}, {changed.id}, 4)

    assert (due.has_due, in_flight.has_due) == (True, False)


def _put_into_bulk(connection: Connection, emails: Sequence[str]) -> None:
    connection.execute(update(tables.profiles).where(tables.profiles.c.email.in_(emails)).values(lane=2))
