"""Properties of subscriptions."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from prosperstack_destination.reconcile.subscriptions import pending, to_send
from prosperstack_destination.sandbox import SandboxConfig, create_sandbox
from prosperstack_destination.store.subscription_states import SubscriptionState
from support.operators import issued, operator
from support.service import KEY, Service, running, settings

pytestmark = pytest.mark.anyio

RULES = {"rules": [{"property": "subscription.seats", "from": "traits.seats"}]}


def test_value_is_pending_unless_applied_or_rejected() -> None:
    """A value is pending where it differs from the applied and the rejected one; true is not 1."""
    state = SubscriptionState({"a": 1, "b": 1}, {"c": ("bad", "no"), "d": ("bad", "no")})

    assert pending({"a": 1, "b": True, "c": "bad", "d": "good", "e": None}, state) == {
        "b": True,
        "d": "good",
        "e": None,
    }


def test_only_differing_values_are_sent() -> None:
    """A value that the subscription has is not sent, nor is a deletion of a missing one."""
    assert to_send({"a": 1, "b": 2, "c": None}, {"a": 1, "b": 3}) == {"b": 2}


def john(service: Service) -> tuple[str, list[dict[str, Any]]]:
    """Return the first subscriber's email, and the values of their subscriptions."""
    data = service.account().data
    first = next(data.subscribers.after(0))
    theirs = data.subscriptions.after(0, subscriber_id=first.fields["id"])
    return first.fields["email"], [{key: value for key, (_, value) in each.values.items()} for each in theirs]


async def test_active_subscriptions_are_updated(tmp_path: Path) -> None:
    """Every active subscription of a subscriber gets the value, once; without a rule none is listed."""
    async with running(settings(tmp_path)) as service:
        data = service.account().data
        email, _ = john(service)
        for each in data.subscriptions.after(0, subscriber_id=next(data.subscribers.after(0)).fields["id"]):
            each.fields["status"] = "active"
        await service.identify(email, seats=5)
        assert not any("subscriptions" in operation for operation in await service.asked())
        async with operator(service, await issued(tmp_path)) as api:
            put = await api.put("mapping", json={"based_on": 0, "mapping": RULES})
            assert put.status_code == 200
            await service.until(lambda: john(service)[1] == [{"seats": 5}])
            await service.identify(email, preferred_name="J", seats=5)
            await service.until(lambda: service.values(email)[0].get("preferred_name") == "J")
            await service.identify(email, seats=6)
            await service.until(lambda: john(service)[1] == [{"seats": 6}])
            unknown = {"rules": [{"property": "subscription.seat", "from": "traits.seats"}]}
            refused = await api.put("mapping", json={"based_on": 1, "mapping": unknown})

        counts = await service.asked()
        assert counts["PATCH /v1/subscriptions/{subscription_id} 200"] == 2
        assert counts["GET /v1/subscriptions 200"] == 2
        assert "did you mean subscription.seats?" in refused.json()["message"]


async def test_canceled_subscription_is_not_updated(tmp_path: Path) -> None:
    """A subscription that is not active is not written to."""
    async with running(settings(tmp_path)) as service:
        data = service.account().data
        email, _ = john(service)
        for each in data.subscriptions.after(0, subscriber_id=next(data.subscribers.after(0)).fields["id"]):
            each.fields["status"] = "canceled"
        await service.identify(email, seats=5)
        async with operator(service, await issued(tmp_path)) as api:
            await api.put("mapping", json={"based_on": 0, "mapping": RULES})
            while "GET /v1/subscriptions 200" not in await service.asked():
                pass
            await service.identify(email, preferred_name="J")
            await service.until(lambda: service.values(email)[0].get("preferred_name") == "J")
        assert john(service)[1] == [{}]


async def test_rejected_value_is_a_problem(tmp_path: Path) -> None:
    """A value rejected for a subscription is shown with ProsperStack's reason, and not sent again."""
    sandbox = create_sandbox(SandboxConfig(subscribers=3, keys=(KEY,), rate_limit=10_000))
    inner = httpx.ASGITransport(sandbox)

    async def picky(request: httpx.Request) -> httpx.Response:
        if request.method == "PATCH" and "/subscriptions/" in request.url.path:
            return httpx.Response(400, json={"error": "no seats today"})
        return await inner.handle_async_request(request)

    async with running(settings(tmp_path), sandbox, httpx.MockTransport(picky)) as service:
        data = service.account().data
        email, _ = john(service)
        for each in data.subscriptions.after(0):
            each.fields["status"] = "active"
        await service.identify(email, seats=5)
        async with operator(service, await issued(tmp_path)) as api:
            await api.put("mapping", json={"based_on": 0, "mapping": RULES})
            while not (problems := (await api.get("problems")).json()):
                pass

    assert problems[0]["property"] == "subscription.seats"
    assert problems[0]["reason"] == "ProsperStack rejects it: no seats today"


async def test_erased_persons_subscriptions_are_cleared(tmp_path: Path) -> None:
    """An erasure also deletes the values written to subscriptions."""
    async with running(settings(tmp_path)) as service:
        data = service.account().data
        email, _ = john(service)
        for each in data.subscriptions.after(0, subscriber_id=next(data.subscribers.after(0)).fields["id"]):
            each.fields["status"] = "active"
        call = {"userId": "u1", "traits": {"email": email, "seats": 5, "preferred_name": "J"}}
        await service.client.post("/identify", json=call)
        async with operator(service, await issued(tmp_path)) as api:
            await api.put("mapping", json={"based_on": 0, "mapping": RULES})
            await service.until(lambda: john(service)[1] == [{"seats": 5}])

        await service.client.post("/identify", json={"type": "delete", "userId": "u1"})
        await service.until(lambda: john(service)[1] == [{}])
        await service.until(lambda: "preferred_name" not in service.values(email)[0])
