"""Nothing is lost, for any response of ProsperStack about its subscribers and any event meanwhile."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import httpx
import pytest
from sqlalchemy import Connection

from prosperstack_destination.account_mapping import apply
from prosperstack_destination.clock import DAY, HOUR, SECOND
from prosperstack_destination.errors import ProsperStackError
from prosperstack_destination.mapping.mapping_file import check_mapping
from prosperstack_destination.store import accounts, erasure, profiles, requeue, retention, subscribers
from prosperstack_destination.store.models import Status
from support.clocks import VIRTUAL_TIME
from support.intake import ACCOUNT, identify, pseudonym, take
from support.world import JOHN, World

pytestmark = pytest.mark.anyio

GONE = {"error": "gone"}


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return VIRTUAL_TIME


@pytest.fixture
async def listed(world: World) -> World:
    """A world with a complete listing, in which John's name was delivered an hour ago."""
    await world.list_everybody()
    await world.call(preferred_name="one")
    await world.reconcile()
    assert world.values()["preferred_name"] == "one"
    for _ in range(2):
        world.clock.advance(HOUR / SECOND)
        await world.reconcile()
    return world


def is_update(request: httpx.Request) -> bool:
    return request.method == "PATCH"


def looks_up(request: httpx.Request) -> bool:
    return "email" in request.url.params


async def for_a_while(world: World, seconds: float, every: float = 60) -> list[str]:
    """Return the requests of a period in which the worker runs now and then."""
    requests = []
    end = world.clock() + seconds * SECOND
    while world.clock() < end:
        with suppress(ProsperStackError):
            requests += await world.reconcile()
        world.clock.advance(every)
    return requests


class GoneOnce:
    """Answers the first update with a false 404, and passes all other requests."""

    def __init__(self) -> None:
        self._refused = False

    def __call__(self, request: httpx.Request) -> httpx.Response | None:
        if self._refused or not is_update(request):
            return None
        self._refused = True
        return httpx.Response(404, json=GONE)


async def test_false_404_costs_a_lookup(listed: World) -> None:
    """One false 404, as of a gateway, costs a lookup and a moment."""
    listed.intercept = GoneOnce()
    await listed.call(preferred_name="two")
    requests = await for_a_while(listed, 10, every=2)

    assert listed.values()["preferred_name"] == "two"
    # The first call of an hour lists the properties anyway.
    assert requests == ["GET properties", "PATCH subscribers", "GET subscribers", "PATCH subscribers"]


async def test_repeated_false_404s_are_retried_at_growing_intervals(listed: World) -> None:
    """Updates answered 404 for a listed subscriber cost little, and show why they fail."""
    listed.intercept = lambda request: httpx.Response(404, json=GONE) if is_update(request) else None
    await listed.call(preferred_name="two")
    requests = await for_a_while(listed, 120, every=1)

    assert requests.count("PATCH subscribers") < 12
    profile = await listed.profile()
    assert profile.pending_since is not None
    assert "404 for subscriber" in (profile.status_reason or "")
    listed.intercept = lambda _: None
    await for_a_while(listed, 120)
    assert listed.values()["preferred_name"] == "two"


async def test_subscriber_hidden_for_an_hour_is_found_again(listed: World) -> None:
    """Unsuccessful lookups are repeated: no listing of recent updates shows the subscriber."""
    listed.intercept = lambda request: (
        httpx.Response(404, json=GONE)
        if is_update(request)
        else httpx.Response(200, json={"data": []})
        if looks_up(request)
        else None
    )
    await listed.call(preferred_name="two")
    await for_a_while(listed, HOUR / SECOND)
    assert (await listed.profile()).status is Status.UNMATCHED

    listed.intercept = lambda _: None
    requests = await for_a_while(listed, 4 * HOUR / SECOND)

    assert listed.values()["preferred_name"] == "two"
    assert (await listed.profile()).status is Status.IN_SYNC
    assert len([each for each in requests if each != "GET properties"]) < 20


async def test_sweep_finds_what_lookups_do_not(listed: World) -> None:
    """A slow, repeated sweep through all subscribers finds every one that the listing lacks."""
    gone_once = GoneOnce()
    listed.intercept = lambda request: (
        httpx.Response(200, json={"data": []}) if looks_up(request) else gone_once(request)
    )
    await listed.call(preferred_name="two")
    await for_a_while(listed, 2 * DAY / SECOND, every=3600)

    assert listed.values()["preferred_name"] == "two"
    assert (await listed.profile()).status is Status.IN_SYNC


async def test_deleted_subscriber_is_looked_up_at_growing_intervals(listed: World) -> None:
    """A deleted subscriber costs a few lookups, until a sweep shows that no subscriber has the email."""
    [record] = listed.data.subscribers.after(0, JOHN)
    listed.data.delete_subscriber(record.fields["id"])
    await listed.call(preferred_name="two")
    asked: list[httpx.Request] = []
    listed.intercept = lambda request: asked.append(request) if looks_up(request) else None

    await for_a_while(listed, 2 * DAY / SECOND, every=3600)
    assert 2 < len(asked) < 10
    asked.clear()
    await for_a_while(listed, 2 * DAY / SECOND, every=3600)
    assert asked == []


async def test_calls_for_a_deleted_subscriber_share_lookups(listed: World) -> None:
    """Calls about a deleted subscriber wait for the same lookups."""
    [record] = listed.data.subscribers.after(0, JOHN)
    listed.data.delete_subscriber(record.fields["id"])
    asked: list[httpx.Request] = []
    listed.intercept = lambda request: asked.append(request) if looks_up(request) else None
    for number in range(20):
        await listed.call(number_of_contacts=number)
        await listed.reconcile()
        listed.clock.advance(60)

    assert len(asked) < 4


async def test_recreated_subscriber_gets_the_properties(listed: World) -> None:
    """A subscriber that was deleted and created again has another id, and is found by the email."""
    [record] = listed.data.subscribers.after(0, JOHN)
    listed.data.delete_subscriber(record.fields["id"])
    moment = record.created_at
    again = replace(record, number=1000, fields={**record.fields, "id": "subr_again"}, values={}, updated_at=moment)
    listed.data.subscribers.add(again)

    await listed.call(preferred_name="two")
    await listed.reconcile()

    assert listed.values()["preferred_name"] == "two"


async def test_hidden_one_of_two_subscribers_is_updated(listed: World) -> None:
    """Of two subscribers with an email the one that ProsperStack hides for a while is updated in the end."""
    [record] = listed.data.subscribers.after(0, JOHN)
    twin = replace(record, number=1000, fields={**record.fields, "id": "subr_twin"}, values={})
    listed.data.subscribers.add(twin)
    hidden = True

    async def network(request: httpx.Request) -> httpx.Response:
        if not hidden:
            return await listed.arrive(request)
        if is_update(request) and "twin" in request.url.path:
            return httpx.Response(404, json=GONE)
        answer = await listed.arrive(request)
        if looks_up(request):
            await answer.aread()
            shown = [each for each in answer.json()["data"] if each["id"] != "subr_twin"]
            return httpx.Response(200, json={"data": shown})
        return answer

    await listed.database.write(
        subscribers.upsert_page,
        ACCOUNT,
        [subscribers.SubscriberSnapshot("subr_twin", JOHN, {}, None)],
        listed.clock(),
    )
    listed.network = network
    await listed.call(preferred_name="two")
    await for_a_while(listed, 60)
    hidden = False
    await for_a_while(listed, 2 * DAY / SECOND, every=3600)

    names = [each.values["preferred_name"][1] for each in listed.data.subscribers.after(0, JOHN)]
    assert names == ["two", "two"]


async def test_swapped_emails_get_their_own_values(listed: World) -> None:
    """Desired values follow the email, also before the listing shows the swap."""
    other = next(each.fields["email"] for each in listed.data.subscribers.after(1))
    await listed.call(other, preferred_name="other")
    await listed.reconcile()
    [first], [second] = (list(listed.data.subscribers.after(0, email)) for email in (JOHN, other))
    for record, email in ((first, other), (second, JOHN)):
        listed.data.subscribers.remove(record.fields["id"])
        record.fields["email"] = email
    for number, record in enumerate((first, second), 1000):
        record.number = number
        listed.data.subscribers.add(record)

    await listed.call(preferred_name="John again")
    await for_a_while(listed, 2 * DAY / SECOND, every=3600)

    assert listed.values()["preferred_name"] == "John again"
    assert listed.values(other)["preferred_name"] == "other"


Carrier = Callable[[World, httpx.Request], Awaitable[httpx.Response]]


def lost_response(arrives: bool) -> Carrier:
    async def carry(world: World, request: httpx.Request) -> httpx.Response:
        if arrives:
            await world.arrive(request)
        raise httpx.ReadError("cut off")

    return carry


async def kept_response(world: World, request: httpx.Request) -> httpx.Response:
    return await world.arrive(request)


async def killed(world: World, request: httpx.Request) -> httpx.Response:
    await world.arrive(request)
    assert world.running is not None
    world.running.cancel()
    await asyncio.Event().wait()
    raise AssertionError


CARRIERS = {
    "answered": kept_response,
    "answer lost": lost_response(arrives=True),
    "request lost": lost_response(arrives=False),
    "killed": killed,
}


@pytest.mark.parametrize("when", ["in flight", "afterwards"])
@pytest.mark.parametrize("carry", CARRIERS.values(), ids=CARRIERS)
async def test_reverted_value_is_reverted(listed: World, when: str, carry: Carrier) -> None:
    """A value that was sent, and that Segment reverts before the response arrives, does not stay."""
    sent: list[str] = []

    async def network(request: httpx.Request) -> httpx.Response:
        if not is_update(request) or sent:
            return await listed.arrive(request)
        sent.append(request.url.path)
        if when == "in flight":
            await listed.call(preferred_name="one")
            await asyncio.sleep(3)  # the worker evaluates the new call meanwhile
        return await carry(listed, request)

    listed.network = network
    await listed.call(preferred_name="two")
    with suppress(asyncio.CancelledError):
        await listed.reconcile()
    assert sent
    if when == "afterwards":
        await listed.call(preferred_name="one")
    await for_a_while(listed, HOUR / SECOND)

    assert listed.values()["preferred_name"] == "one"
    assert (await listed.profile()).status is Status.IN_SYNC


async def test_slow_lookup_does_not_undo_a_listing(listed: World) -> None:
    """A subscriber that was created during a lookup, and was listed, stays known."""
    new = "new@example.com"
    [record] = listed.data.subscribers.after(0, JOHN)
    joined = False

    async def network(request: httpx.Request) -> httpx.Response:
        nonlocal joined
        answer = await listed.arrive(request)
        if looks_up(request) and not joined:
            joined = True
            now = record.updated_at.fromtimestamp(listed.clock() / SECOND, record.updated_at.tzinfo)
            fields = {**record.fields, "id": "subr_new", "email": new}
            listed.data.subscribers.add(
                replace(record, number=1000, fields=fields, values={}, created_at=now, updated_at=now)
            )
            await asyncio.sleep(1)
            seen = [subscribers.SubscriberSnapshot("subr_new", new, {}, None)]
            news = await listed.database.write(subscribers.upsert_page, ACCOUNT, seen, listed.clock())
            await listed.database.write(profiles.mark_changed, ACCOUNT, news, listed.clock())
        return answer

    listed.network = network
    await listed.call(new, preferred_name="new")
    await listed.database.write(requeue.prioritize, ACCOUNT, new, listed.clock())
    await for_a_while(listed, 300)

    assert joined
    assert listed.values(new)["preferred_name"] == "new"


async def test_profile_after_a_deletion_is_matched(listed: World) -> None:
    """The subscribers of an erased person are looked up after a new call."""
    await listed.database.write(erasure.erase_email, ACCOUNT, "jane@example.com", pseudonym, "test", listed.clock())
    other = next(each.fields["email"] for each in listed.data.subscribers.after(1))
    await listed.database.write(erasure.erase_email, ACCOUNT, other, pseudonym, "test", listed.clock())
    await for_a_while(listed, HOUR / SECOND)
    assert await listed.database.read(subscribers.with_email, ACCOUNT, other) == []

    await listed.call(other, preferred_name="back")
    await listed.reconcile()

    assert listed.values(other)["preferred_name"] == "back"


async def test_profile_after_retention_is_matched(listed: World) -> None:
    """Profiles deleted by retention leave their subscribers known."""
    await listed.database.write(retention.delete_inactive, 0, listed.clock() + 2 * DAY, listed.clock() + 2 * DAY)
    assert await listed.database.read(profiles.find, ACCOUNT, JOHN) is None
    await for_a_while(listed, HOUR / SECOND)

    await listed.call(preferred_name="back")
    await listed.reconcile()

    assert listed.values()["preferred_name"] == "back"


async def test_listing_during_an_evaluation_is_not_missed(listed: World) -> None:
    """A decision on older data does not settle a profile whose subscriber was just listed."""
    await listed.database.write(take, identify("new@example.com", at=1, received_at=1, preferred_name="new"))
    before = await listed.profile("new@example.com")
    news = {"new@example.com"}
    await listed.database.write(profiles.mark_changed, ACCOUNT, news, listed.clock())

    assert not await listed.database.write(profiles.settle, before, Status.UNMATCHED)
    looked_up = await listed.profile("new@example.com")
    await listed.database.write(profiles.mark_looked_up, looked_up, listed.clock(), listed.clock())
    assert not await listed.database.write(profiles.settle, looked_up, Status.UNMATCHED)


async def test_remote_erasure_survives_one_404(listed: World) -> None:
    """An erasure accepts a 404 once it is repeated an hour later."""
    listed.intercept = GoneOnce()
    await listed.database.write(erasure.erase_email, ACCOUNT, JOHN, pseudonym, "test", listed.clock())
    await for_a_while(listed, 2 * HOUR / SECOND)

    assert "preferred_name" not in listed.values()


@pytest.mark.parametrize("carry", CARRIERS.values(), ids=CARRIERS)
async def test_erasure_clears_values_in_flight(listed: World, carry: Carrier) -> None:
    """Earlier values and those in flight are cleared, also where it is unknown whether they arrived."""
    sent: list[str] = []

    async def network(request: httpx.Request) -> httpx.Response:
        if not is_update(request) or sent:
            return await listed.arrive(request)
        sent.append(request.url.path)
        await listed.database.write(erasure.erase_email, ACCOUNT, JOHN, pseudonym, "test", listed.clock())
        await asyncio.sleep(3)
        return await carry(listed, request)

    listed.network = network
    await listed.call(preferred_name="two", is_professional=True)
    with suppress(asyncio.CancelledError):
        await listed.reconcile()
    await for_a_while(listed, HOUR / SECOND, every=600)

    assert listed.values().keys() & {"preferred_name", "is_professional"} == set()


async def test_erasure_clears_values_delivered_before(listed: World) -> None:
    """A due update does not hide the values delivered before."""
    await listed.call(preferred_name="two")
    listed.intercept = lambda request: httpx.Response(503) if is_update(request) else None
    await for_a_while(listed, 10, every=5)
    await listed.database.write(erasure.erase_email, ACCOUNT, JOHN, pseudonym, "test", listed.clock())
    listed.intercept = lambda _: None
    await for_a_while(listed, 600)

    assert "preferred_name" not in listed.values()


async def with_seats(world: World) -> World:
    """Activate John's subscriptions, with a property that got a value by a rule."""
    for each in world.data.subscriptions.after(0):
        each.fields["status"] = "active"
    mapping = check_mapping({"rules": [{"property": "subscription.seats", "from": "traits.seats"}]})

    def with_rule(connection: Connection, now: int) -> None:
        account = accounts.get(connection, ACCOUNT)
        assert account is not None
        apply(connection, account, mapping.rules, author="me", now=now)

    await world.database.write(with_rule, world.clock())
    await for_a_while(world, HOUR / SECOND, every=1200)
    await world.call(seats=1)
    await for_a_while(world, 60, every=30)
    assert seats(world) == [1]
    return world


def seats(world: World) -> list[Any]:
    """Return the value of each of John's subscriptions."""
    [john] = world.data.subscribers.after(0, JOHN)
    theirs = world.data.subscriptions.after(0, subscriber_id=john.fields["id"])
    return [each.values["seats"][1] for each in theirs]


@pytest.mark.parametrize("carry", CARRIERS.values(), ids=CARRIERS)
async def test_reverted_subscription_value_is_reverted(listed: World, carry: Carrier) -> None:
    """A subscription's value that Segment reverts before the response arrives does not stay."""
    await with_seats(listed)
    sent: list[str] = []

    async def network(request: httpx.Request) -> httpx.Response:
        if not is_update(request) or sent:
            return await listed.arrive(request)
        sent.append(request.url.path)
        await listed.call(seats=1)
        await asyncio.sleep(3)
        return await carry(listed, request)

    listed.network = network
    await listed.call(seats=2)
    with suppress(asyncio.CancelledError):
        await listed.reconcile()
    await for_a_while(listed, HOUR / SECOND, every=600)

    assert sent
    assert seats(listed) == [1]


async def test_false_404_of_a_subscription_is_retried(listed: World) -> None:
    """A 404 for a subscription that is listed does not count."""
    await with_seats(listed)
    listed.intercept = GoneOnce()
    await listed.call(seats=2)
    await for_a_while(listed, 60, every=10)

    assert seats(listed) == [2]


@pytest.mark.parametrize("carry", CARRIERS.values(), ids=CARRIERS)
async def test_erasure_clears_subscription_values_in_flight(listed: World, carry: Carrier) -> None:
    """An erasure during an update of subscriptions clears the values."""
    await with_seats(listed)
    sent: list[str] = []

    async def network(request: httpx.Request) -> httpx.Response:
        if not is_update(request) or sent:
            return await listed.arrive(request)
        sent.append(request.url.path)
        await listed.database.write(erasure.erase_email, ACCOUNT, JOHN, pseudonym, "test", listed.clock())
        await asyncio.sleep(3)
        return await carry(listed, request)

    listed.network = network
    await listed.call(seats=2)
    with suppress(asyncio.CancelledError):
        await listed.reconcile()
    await for_a_while(listed, HOUR / SECOND, every=600)

    [john] = listed.data.subscribers.after(0, JOHN)
    assert not any(each.values for each in listed.data.subscriptions.after(0, subscriber_id=john.fields["id"]))
