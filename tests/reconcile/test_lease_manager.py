"""Sending and writing under a lease."""

import httpx
import pytest
from sqlalchemy import select

from prosperstack_destination.errors import LeaseLost
from prosperstack_destination.prosperstack.client import ProsperStackClient
from prosperstack_destination.reconcile.lease_manager import FencedStore, HeldLease
from prosperstack_destination.store import leases, profiles
from prosperstack_destination.store import subscribers as subscriber_rows
from prosperstack_destination.store.database import Database
from prosperstack_destination.store.leases import Lease
from prosperstack_destination.store.models import Status
from prosperstack_destination.store.subscribers import SubscriberSnapshot, requeue_unconfirmed
from prosperstack_destination.store.tables import subscribers
from support.accounts import open_account
from support.clocks import NEW_YEAR, SetClock
from support.intake import ACCOUNT, apply_values, identify, stored, take

pytestmark = pytest.mark.anyio

LEASE = Lease(ACCOUNT, "r1", 3, NEW_YEAR)
JOHN = "https://api.prosperstack.test/v1/subscribers/subr_1"


@pytest.fixture
def held_lease(clock: SetClock) -> HeldLease:
    return HeldLease(LEASE, clock.now + 6_000_000, clock)


def answering(held_lease: HeldLease, asked: list[str]) -> ProsperStackClient:
    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.method)
        return httpx.Response(200, json={"id": "subr_1", "email": "a@b.c", "properties": []})

    http = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    return ProsperStackClient(http, "https://api.prosperstack.test/v1", "key_test_x", guard=held_lease.guard)


async def test_nothing_is_sent_after_the_lease_expired(held_lease: HeldLease, clock: SetClock) -> None:
    """A replica that slept past the end of its lease sends ProsperStack nothing more."""
    asked: list[str] = []
    client = answering(held_lease, asked)
    await client.update_subscriber("subr_1", {})
    clock.advance(6)

    with pytest.raises(LeaseLost):
        await client.update_subscriber("subr_1", {})
    assert asked == ["PATCH"]


async def test_write_without_the_lease_is_rolled_back(
    database: Database, held_lease: HeldLease, clock: SetClock
) -> None:
    """A late owner's write is undone in the transaction that finds the lease gone."""
    await database.write(leases.store, [LEASE])
    fenced = FencedStore(database, held_lease, clock)
    await fenced.write(open_account)
    await database.write(leases.store, [Lease(ACCOUNT, "r2", 4, NEW_YEAR)])

    with pytest.raises(LeaseLost):
        await fenced.write(open_account, "acct_2")
    assert await database.read(lambda connection: connection.execute(select(subscribers)).all()) == []
    assert await fenced.read(lambda connection: connection.scalar(select(1))) == 1


async def test_update_is_unconfirmed_until_a_later_fenced_write(
    database: Database, held_lease: HeldLease, clock: SetClock
) -> None:
    """An update stays unconfirmed until a fenced write that began later succeeds."""
    await database.write(leases.store, [LEASE])
    fenced = FencedStore(database, held_lease, clock)
    with held_lease.guard("PATCH", JOHN):
        await fenced.write(lambda _: None)
        clock.advance(1)
        during = held_lease.unconfirmed
    after = held_lease.unconfirmed
    with held_lease.guard("GET", "https://api.prosperstack.test/v1/subscribers"):
        pass
    await fenced.write(lambda _: None)

    assert (during, after, held_lease.unconfirmed) == (["subr_1"], ["subr_1"], [])


async def test_unconfirmed_subscriber_is_looked_up_again(database: Database) -> None:
    """An unconfirmed subscriber is looked up again with nothing applied; one settled meanwhile is not."""
    await database.write(open_account)
    await database.write(take, identify(plan="pro"))
    await database.write(
        subscriber_rows.replace_for_email, ACCOUNT, "a@b.c", [SubscriberSnapshot("subr_1", "a@b.c", {})], NEW_YEAR
    )
    await database.write(apply_values, ACCOUNT, "subr_1", {"plan": "pro"}, observed={"plan": "pro"}, now=NEW_YEAR)
    in_flight = await database.read(stored)
    await database.write(profiles.settle, in_flight, Status.IN_SYNC)

    await database.write(requeue_unconfirmed, ACCOUNT, ["subr_1", "subr_unknown"], NEW_YEAR)

    assert await database.write(profiles.settle, in_flight, Status.IN_SYNC) is False
    [due] = await database.read(profiles.due, ACCOUNT, NEW_YEAR, None, 10)
    [subscriber] = await database.read(subscriber_rows.with_email, ACCOUNT, "a@b.c")
    assert (due.looked_up_at, due.status, subscriber.applied) == (None, Status.PENDING, {})
