"""Delivery to a ProsperStack that misbehaves, in virtual time."""

from dataclasses import replace
from typing import Any

import httpx
import pytest
from sqlalchemy import Connection, update

from prosperstack_destination.clock import HOUR, MINUTE, SECOND
from prosperstack_destination.errors import ProsperStackAuthError, ProsperStackUnavailable
from prosperstack_destination.reconcile.backoff import MAX_STREAK
from prosperstack_destination.store import accounts, profiles, queue, requeue, rollups, subscribers
from prosperstack_destination.store.accounts import AccountStatus
from prosperstack_destination.store.models import Delete, Status
from prosperstack_destination.store.queue import CATALOG_MAX_AGE, IDLE_CATALOG_MAX_AGE
from prosperstack_destination.store.rollups import Rollup
from prosperstack_destination.store.tables import profiles as table
from support.clocks import VIRTUAL_TIME
from support.intake import identify, take
from support.world import JOHN, KEY, World

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return VIRTUAL_TIME


async def test_rejected_property_is_isolated(world: World) -> None:
    """The rejected property is marked with ProsperStack's reason; the others are delivered."""

    def no_dates(request: httpx.Request) -> httpx.Response | None:
        if request.method == "PATCH" and b"last_contacted" in request.content:
            return httpx.Response(400, json={"error": "no dates today"})
        return None

    world.intercept = no_dates
    await world.call(number_of_contacts=1, is_professional=True, last_contacted="2026-01-01", preferred_name="Jo")
    requests = await world.reconcile()

    assert requests.count("PATCH subscribers") <= 4  # one for all, log2(4) to find it, one for the rest
    assert world.values() == {
        "number_of_contacts": 1,
        "is_professional": True,
        "last_contacted": "2020-01-15",
        "preferred_name": "Jo",
    }
    assert await world.problems() == [("last_contacted", "ProsperStack rejects it: no dates today")]
    assert (await world.profile()).status is Status.IN_SYNC


async def test_rejected_property_is_sent_again_when_it_changes(world: World) -> None:
    """A rejected value is not sent again; another value is, and the problem ends."""
    world.intercept = lambda request: (
        httpx.Response(400, json={"error": "no"}) if b'"bad"' in request.content else None
    )
    await world.call(preferred_name="bad")
    await world.reconcile()
    await world.call(number_of_contacts=7)
    again = await world.reconcile()
    assert again.count("PATCH subscribers") == 1
    assert len(await world.problems()) == 1

    await world.call(preferred_name="good")
    await world.reconcile()

    assert world.values()["preferred_name"] == "good"
    assert await world.problems() == []


async def test_rejected_value_found_in_place_is_no_problem(world: World) -> None:
    """Where the rejected value is entered in ProsperStack by hand, the problem ends once that is observed."""
    world.intercept = lambda request: (
        httpx.Response(400, json={"error": "no"}) if b'"bad"' in request.content else None
    )
    await world.call(preferred_name="bad")
    await world.reconcile()
    assert len(await world.problems()) == 1
    [record] = world.data.subscribers.after(0, JOHN)
    [prop] = [each for each in world.data.properties.values() if each.key == "preferred_name"]
    record.values["preferred_name"] = (prop, "bad")
    await world.call(number_of_contacts=7)
    await world.reconcile()

    assert await world.problems() == []


async def test_prioritized_profile_is_looked_up(world: World) -> None:
    """A prioritized profile is looked up, also where nothing has to be sent."""
    await world.call(preferred_name="Jo")
    await world.reconcile()
    [record] = world.data.subscribers.after(0, JOHN)
    record.values["preferred_name"] = (record.values["preferred_name"][0], "Edited")
    assert await world.database.write(requeue.prioritize, "acct_1", JOHN, world.clock())
    world.clock.advance(1)

    assert await world.reconcile() == ["GET subscribers"]
    [subscriber] = await world.database.read(subscribers.with_email, "acct_1", JOHN)
    assert (subscriber.observed["preferred_name"], subscriber.applied["preferred_name"]) == ("Edited", "Jo")
    assert (await world.profile()).status is Status.IN_SYNC


async def test_missing_subscriber_is_looked_up_by_email(world: World) -> None:
    """After a 404 the id is removed and the email is looked up again."""
    await world.call(preferred_name="one")
    await world.reconcile()
    [record] = world.data.subscribers.after(0, JOHN)
    world.data.delete_subscriber(record.fields["id"])

    await world.call(preferred_name="two")
    assert await world.reconcile() == ["PATCH subscribers", "GET subscribers"]

    assert (await world.profile()).status is Status.UNMATCHED
    assert await world.database.read(subscribers.with_email, "acct_1", JOHN) == []


async def test_late_subscriber_gets_the_properties(world: World) -> None:
    """An unmatched profile is looked up at growing intervals, and delivered once it has a subscriber."""
    await world.call("new@example.com", preferred_name="New")
    assert await world.reconcile() == ["GET properties", "GET subscribers"]
    assert await world.reconcile() == []

    [record] = world.data.subscribers.after(0, JOHN)
    world.data.subscribers.remove(record.fields["id"])
    record.fields["email"] = "new@example.com"
    record.number = 1000
    world.data.subscribers.add(record)
    world.clock.advance(10 * 60)
    assert await world.reconcile() == ["GET subscribers", "PATCH subscribers"]
    assert world.values("new@example.com")["preferred_name"] == "New"


async def test_email_is_looked_up_as_it_was_sent_first(world: World) -> None:
    """ProsperStack may or may not ignore case: both spellings are looked up where they differ."""
    asked: list[str] = []

    def exact(request: httpx.Request) -> httpx.Response | None:
        if request.method == "GET" and "email" in request.url.params:
            asked.append(request.url.params["email"])
            return httpx.Response(200, json={"data": []})
        return None

    world.intercept = exact
    now = world.clock()
    call = replace(identify(JOHN, at=now, received_at=now, preferred_name="x"), address="John.Doe@Example.com")
    await world.database.write(take, call)
    await world.reconcile()

    assert asked == ["John.Doe@Example.com", JOHN]


async def test_rejected_email_is_set_aside(world: World) -> None:
    """A rejected lookup is shown with its reason, and tried again after the next change."""
    world.intercept = lambda request: (
        httpx.Response(422, json={"error": "what an email"}) if "email" in request.url.params else None
    )
    await world.call(preferred_name="x")
    await world.reconcile()

    profile = await world.profile()
    assert (profile.status, profile.status_reason) == (
        Status.REJECTED,
        "ProsperStack rejects the email: what an email",
    )
    world.intercept = lambda _: None
    await world.call(preferred_name="y")
    await world.reconcile()
    assert world.values()["preferred_name"] == "y"


async def test_failing_profile_does_not_delay_the_others(world: World) -> None:
    """A profile whose request fails goes behind the others, and is retried later."""
    other = next(each.fields["email"] for each in world.data.subscribers.after(1))

    def poisoned(request: httpx.Request) -> httpx.Response | None:
        return httpx.Response(500) if request.url.params.get("email") == JOHN else None

    world.intercept = poisoned
    await world.call(preferred_name="John")
    await world.call(other, preferred_name="Other")
    await world.reconcile()

    assert world.values(other)["preferred_name"] == "Other"
    profile = await world.profile()
    assert (profile.status, profile.attempts) == (Status.UNKNOWN, 1)
    assert profile.status_reason is not None
    assert "500" in profile.status_reason

    world.intercept = lambda _: None
    world.clock.advance(5)
    await world.reconcile()
    assert world.values()["preferred_name"] == "John"


async def test_outage_makes_the_account_wait(world: World) -> None:
    """Consecutive failures make the whole account wait; everything stays due."""
    people = [each.fields["email"] for each in world.data.subscribers.after(0)]
    await world.reconcile()
    world.intercept = lambda _: httpx.Response(503)
    for email in people:
        await world.call(email, preferred_name="x")

    with pytest.raises(ProsperStackUnavailable):
        await world.reconcile()
    assert len(world.requests) <= 2 * MAX_STREAK
    assert (await world.profile(people[0])).pending_since is not None


async def test_refused_key_stops_the_account(world: World) -> None:
    """A 401 is raised to the reconciler; the call stays due."""
    world.intercept = lambda _: httpx.Response(401, json={"error": "revoked"})
    await world.call(preferred_name="x")

    with pytest.raises(ProsperStackAuthError, match="revoked"):
        await world.reconcile()
    assert (await world.profile()).status is Status.PENDING


async def test_account_that_works_again_is_active(world: World) -> None:
    """After a failure the catalog is listed first; if that succeeds the account is active."""
    await world.call(preferred_name="x")
    await world.reconcile()
    await world.database.write(accounts.set_status, "acct_1", AccountStatus.RETRYING, reason="it failed")

    assert await world.reconcile() == ["GET properties"]
    account = await world.database.read(accounts.get, "acct_1")
    assert account is not None
    assert (account.status, account.status_reason) == (AccountStatus.ACTIVE, None)


async def test_new_property_applies_to_earlier_calls(world: World) -> None:
    """A property that is created later is filled from calls received before."""
    await world.call(plan="premium")
    await world.database.write(rollups.add, {"acct_1": Rollup(accepted=1)}, world.clock())
    await world.reconcile()
    world.data.create_property("prop_plan", "plan", "Plan", "subscriber", "text", None)
    assert await world.reconcile() == []

    world.clock.advance(CATALOG_MAX_AGE / SECOND)
    await world.reconcile()
    await world.reproject()
    await world.reconcile()

    assert world.values()["plan"] == "premium"


async def test_idle_account_lists_its_properties_once_a_day(world: World) -> None:
    """Without a call for a day, and with nothing due, properties are listed when the list is a day old."""
    await world.reconcile()

    world.clock.advance(IDLE_CATALOG_MAX_AGE / SECOND - 1)
    assert await world.database.read(queue.accounts_with_work, world.clock()) == []
    assert await world.reconcile() == []

    world.clock.advance(1)
    assert await world.database.read(queue.accounts_with_work, world.clock()) == ["acct_1"]
    assert await world.reconcile() == ["GET properties"]
    assert await world.database.read(queue.accounts_with_work, world.clock()) == []


async def test_first_call_in_hours_finds_new_properties(world: World) -> None:
    """After a long idle time, the first call has the properties listed before its profile is updated."""
    await world.reconcile()
    world.clock.advance(CATALOG_MAX_AGE / SECOND)
    assert await world.reconcile() == []
    world.data.create_property("prop_plan", "plan", "Plan", "subscriber", "text", None)

    await world.call(plan="premium")

    assert await world.reconcile() == ["GET properties", "GET subscribers", "PATCH subscribers"]
    assert world.values()["plan"] == "premium"


async def test_active_account_lists_its_properties_every_15_minutes(world: World) -> None:
    """For a day after a call properties are listed every 15 minutes, even with nothing due."""
    await world.reconcile()
    await world.database.write(rollups.add, {"acct_1": Rollup(accepted=1)}, world.clock())

    world.clock.advance(CATALOG_MAX_AGE / SECOND - 1)
    assert await world.database.read(queue.accounts_with_work, world.clock()) == []
    world.clock.advance(1)
    assert await world.database.read(queue.accounts_with_work, world.clock()) == ["acct_1"]
    assert await world.reconcile() == ["GET properties"]


async def test_429_is_waited_out(world: World) -> None:
    """Requests that others spent are waited for, and nothing fails."""
    for _ in range(100):
        world.sandbox.state.accounts[KEY].window.take(world.clock() / SECOND)
    began = world.clock()
    await world.call(preferred_name="x")
    await world.reconcile()

    assert world.values()["preferred_name"] == "x"
    assert world.clock() - began >= MINUTE


async def test_change_in_flight_stays_due(world: World) -> None:
    """A call that arrives while an update is in flight is delivered by another one."""
    loop_guard: list[int] = []

    async def network(request: httpx.Request) -> httpx.Response:
        if request.method == "PATCH" and not loop_guard:
            loop_guard.append(1)
            await world.call(preferred_name="in flight")
        return await world.arrive(request)

    world.network = network
    await world.call(preferred_name="before")
    requests = await world.reconcile()

    assert requests.count("PATCH subscribers") == 2
    assert world.values()["preferred_name"] == "in flight"
    assert (await world.profile()).status is Status.IN_SYNC


async def test_erasure_during_an_update_clears_its_values(world: World) -> None:
    """A value that reaches ProsperStack after a deletion is cleared like earlier ones."""
    deletion = Delete("acct_1", "u1", at=world.clock() + HOUR, received_at=world.clock() + HOUR)

    async def network(request: httpx.Request) -> httpx.Response:
        if b'"Jo"' in request.content:
            await world.database.write(take, deletion)
        return await world.arrive(request)

    world.network = network
    now = world.clock()
    call = replace(identify(JOHN, at=now, received_at=now, user_id="u1"), traits={"preferred_name": "Jo"})
    await world.database.write(take, call)
    await world.reconcile()
    world.clock.advance(2 * HOUR / SECOND)
    await world.reconcile()

    assert "preferred_name" not in world.values()
    assert await world.database.read(profiles.find, "acct_1", JOHN) is None


async def test_lost_response_is_repeated_safely(world: World) -> None:
    """An update whose response was lost is sent again or found in place; the value is right."""

    async def lossy(request: httpx.Request) -> httpx.Response:
        answer = await world.arrive(request)
        if request.method == "PATCH" and world.requests.count("PATCH subscribers") == 1:
            raise httpx.ReadError("cut off")
        return answer

    world.network = lossy
    await world.call(preferred_name="x")
    await world.reconcile()
    world.network = None
    world.clock.advance(5)
    await world.reconcile()

    assert world.values()["preferred_name"] == "x"
    assert (await world.profile()).status is Status.IN_SYNC


def break_profile(connection: Connection, email: str, broken: str) -> None:
    """Store traits that cannot be read or mapped, as a bug might."""
    chosen = (table.c.email == email) & (table.c.account_id == "acct_1")
    connection.execute(update(table).where(chosen).values(traits=broken))


@pytest.mark.parametrize("broken", ["[not JSON", '{"preferred_name": 1}', '{"preferred_name": ["x", null]}'])
async def test_unreadable_profile_does_not_stop_the_others(world: World, broken: str) -> None:
    """Others are delivered; it waits a minute, and is delivered once it can be read."""
    await world.call("broken@example.com", preferred_name="x")
    await world.call(preferred_name="Jo")
    await world.database.write(break_profile, "broken@example.com", broken)

    await world.reconcile()

    assert world.values()["preferred_name"] == "Jo"
    await world.database.write(break_profile, "broken@example.com", '{"preferred_name": ["y", 1]}')
    await world.reconcile()
    assert (await world.profile("broken@example.com")).status in (Status.PENDING, Status.UNMATCHED)
    world.clock.advance(2 * 60)
    await world.reconcile()
    assert (await world.profile("broken@example.com")).status is Status.UNMATCHED
