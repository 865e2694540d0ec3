"""What may be sent and written under a lease."""

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
from support.intake import ACCOUNT, identify, stored, take

pytestmark = pytest.mark.anyio

LEASE = Lease(ACCOUNT, "r1", 3, NEW_YEAR)
JOHN = "https://api.prosperstack.test/v1/subscribers/subr_1"


@pytest.fixture
def tenure(clock: SetClock) -> HeldLease:
    return HeldLease(LEASE, clock.now + 6_000_000, clock)


def answering(tenure: HeldLease, asked: list[str]) -> ProsperStackClient:
    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.method)
        return httpx.Response(200, json={"id": "subr_1", "email": "a@b.c", "properties": []})

    http = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    return ProsperStackClient(http, "https://api.prosperstack.test/v1", "key_test_x", guard=tenure.guard)


async def test_nothing_is_sent_after_the_lease(tenure: HeldLease, clock: SetClock) -> None:
    """Who slept past the end of the lease asks ProsperStack nothing more."""
    asked: list[str] = []
    client = answering(tenure, asked)
    await client.update_subscriber("subr_1", {})
    clock.advance(6)

    with pytest.raises(LeaseLost):
        await client.update_subscriber("subr_1", {})
    assert asked == ["PATCH"]


async def test_a_write_without_the_lease_is_refused(database: Database, tenure: HeldLease, clock: SetClock) -> None:
    """What a late owner writes is undone, in the same transaction that finds the lease gone."""
    await database.write(leases.store, [LEASE])
    fenced = FencedStore(database, tenure, clock)
    await fenced.write(open_account)
    await database.write(leases.store, [Lease(ACCOUNT, "r2", 4, NEW_YEAR)])

    with pytest.raises(LeaseLost):
        await fenced.write(open_account, "acct_2")
    assert await database.read(lambda connection: connection.execute(select(subscribers)).all()) == []
    assert await fenced.read(lambda connection: connection.scalar(select(1))) == 1


async def test_what_is_in_doubt(database: Database, tenure: HeldLease, clock: SetClock) -> None:
    """A subscriber that was written to is in doubt until a write of ours, begun later, is accepted."""
    await database.write(leases.store, [LEASE])
    fenced = FencedStore(database, tenure, clock)
    with tenure.guard("PATCH", JOHN):
        await fenced.write(lambda _: None)
        clock.advance(1)
        during = tenure.unconfirmed
    after = tenure.unconfirmed
    with tenure.guard("GET", "https://api.prosperstack.test/v1/subscribers"):
        pass
    await fenced.write(lambda _: None)

    assert (during, after, tenure.unconfirmed) == (["subr_1"], ["subr_1"], [])


async def test_doubt_makes_everything_be_looked_at_again(database: Database) -> None:
    """A subscriber in doubt is looked up anew, and nothing counts as applied; who settles it meanwhile does not."""
    await database.write(open_account)
    await database.write(take, identify(plan="pro"))
    await database.write(
        subscriber_rows.replace_for_email, ACCOUNT, "a@b.c", [SubscriberSnapshot("subr_1", "a@b.c", {})], NEW_YEAR
    )
    await database.write(
        subscriber_rows.mark_applied, ACCOUNT, "subr_1", {"plan": "pro"}, observed={"plan": "pro"}, now=NEW_YEAR
    )
    in_flight = await database.read(stored)
    await database.write(profiles.settle, in_flight, Status.IN_SYNC)

    await database.write(requeue_unconfirmed, ACCOUNT, ["subr_1", "subr_unknown"], NEW_YEAR)

    assert await database.write(profiles.settle, in_flight, Status.IN_SYNC) is False
    [due] = await database.read(profiles.due, ACCOUNT, NEW_YEAR, None, 10)
    [subscriber] = await database.read(subscriber_rows.with_email, ACCOUNT, "a@b.c")
    assert (due.looked_up_at, due.status, subscriber.applied) == (None, Status.PENDING, {})
