"""Tests of the API of recent calls and test calls."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from prosperstack_destination.store import activity
from prosperstack_destination.store.database import Database
from support.operators import issued, operator
from support.service import Service, running, settings

pytestmark = pytest.mark.anyio

JOHN = "john.doe@example.com"
SECRETS = (JOHN, "Zanzibar", "user-4711", "4712")
CALL = {
    "type": "identify",
    "userId": "user-4711",
    "traits": {"email": JOHN, "preferred_name": "Zanzibar", "number_of_contacts": 4712, "loose": "Zanzibar"},
}


async def until(api: httpx.AsyncClient, url: str, enough: Callable[[Any], object]) -> Any:
    """What is answered, once it is enough: calls and events are written about once a second."""
    async with asyncio.timeout(10):
        while not enough(found := (await api.get(url)).json()):  # noqa: ASYNC110 -- the feed tells nobody
            await asyncio.sleep(0.02)
    return found


async def seen(api: httpx.AsyncClient, count: int, query: str = "") -> list[Any]:
    """The calls, once there are so many."""
    found: dict[str, list[Any]] = await until(api, f"calls{query}", lambda found: len(found["calls"]) >= count)
    return found["calls"]


async def test_call_is_masked_until_revealed(service: Service, api: httpx.AsyncClient) -> None:
    """A call has its outcome, and personal data only if it is revealed."""
    await service.client.post("/identify", json=CALL)
    [masked, _] = await seen(api, 2)
    [revealed, _] = await seen(api, 2, "?reveal=true")

    assert (masked["type"], masked["way"], masked["outcome"]) == ("identify", "identify", "accepted")
    assert masked["message"] == "Accepted."
    assert masked["arrived"]["traits"] == {
        "email": "j…",
        "preferred_name": "Z…",
        "number_of_contacts": 0,
        "loose": "Z…",
    }
    assert not any(secret in json.dumps(masked) for secret in SECRETS)
    assert revealed["arrived"] == CALL


async def test_call_has_explanation_and_follow_ups(service: Service, api: httpx.AsyncClient) -> None:
    """A call has its explanation, its ignored traits with reasons, and the requests that followed."""
    await service.client.post("/identify", json=CALL)
    await service.until(lambda: service.values(JOHN)[0].get("preferred_name") == "Zanzibar")
    [call, _] = await seen(api, 2)
    url = f"calls/{call['id']}"
    masked = await until(api, url, lambda found: "delivered" in [each["outcome"] for each in found["afterwards"]])
    revealed = (await api.get(f"{url}?reveal=true")).json()
    came = [each["outcome"] for each in masked["afterwards"]]
    update = next(each for each in masked["afterwards"] if "properties" in each["details"])

    assert [each["property"] for each in revealed["explanation"]["properties"]] == [
        "number_of_contacts",
        "preferred_name",
    ]
    assert {each["value"] for each in revealed["explanation"]["properties"]} == {4712, "Zanzibar"}
    assert revealed["explanation"]["email"] == {"value": JOHN, "foundIn": "traits.email"}
    assert {"trait": "loose", "reason": "no property has this key or name, and no rule uses it"} in masked[
        "explanation"
    ]["ignored"]
    assert came.index("accepted") < masked["afterwards"].index(update) < came.index("delivered")
    assert (update["outcome"], update["details"]["properties"]) == (
        "200",
        ["number_of_contacts", "preferred_name"],
    )
    assert not any(secret in json.dumps(masked) for secret in SECRETS)
    assert revealed["afterwards"] == masked["afterwards"]


async def test_refused_call_has_reason_and_field(service: Service, api: httpx.AsyncClient) -> None:
    """A refused call has its reason and its field, also if it was refused for a missing email."""
    await service.client.post("/identify", json={"traits": {"email": "Zanzibar"}})
    await service.client.post("/identify", json={"userId": "user-4711", "traits": {}})
    await service.client.post("/identify", content=b'{"userId": "user-4711", "traits": {')
    await service.client.post("/identify", content=b'{"x":' * 200 + b"5" + b"}" * 200)
    found = await seen(api, 4, "?outcome=refused")
    deep, cut, unknown, bad = [(await api.get(f"calls/{each['id']}")).json() for each in found]

    assert (bad["field"], unknown["field"]) == ("traits.email", "traits.email")
    assert (cut["field"], cut["is_json"], cut["arrived"]) == (None, False, "{…")
    assert "not valid JSON" in cut["message"]
    assert all(each["explanation"] is None for each in (deep, cut, unknown, bad))
    assert not any(secret in json.dumps([cut, unknown, bad]) for secret in SECRETS)


async def test_calls_are_found_by_email_and_filters(service: Service, api: httpx.AsyncClient) -> None:
    """An email also finds calls that named only an ID; filters can be combined."""
    context = {"personas": {"computation_class": "audience", "computation_key": "power_users"}}
    await service.client.post("/identify", json={"userId": "u1", "traits": {"vip": True}, "context": context})
    await service.client.post("/identify", json={"userId": "u1", "traits": {"email": "ann@example.com"}})
    await service.client.post("/identify", json={"userId": "u1", "type": "track"})
    await seen(api, 4)

    async def outcomes(query: str) -> list[str]:
        return [each["outcome"] for each in await seen(api, 0, query)]

    assert await outcomes("?email=ANN@example.com") == ["refused", "accepted", "held"]
    assert await outcomes("?email=ann@example.com&type=track") == ["refused"]
    assert await outcomes("?source=audience:power_users") == ["held"]
    assert await outcomes("?source=audience&outcome=accepted") == []
    assert await outcomes("?email=nobody@example.com") == []
    [held] = await seen(api, 1, "?outcome=held")
    explained = (await api.get(f"calls/{held['id']}")).json()
    assert "call" in [each["kind"] for each in explained["afterwards"]]  # its email is known by now


async def test_calls_are_paged_newest_first(service: Service, api: httpx.AsyncClient) -> None:
    """Calls are paged, newest first."""
    for number in range(4):
        await service.identify(JOHN, number_of_contacts=number)
    await seen(api, 5)
    first = (await api.get("calls?limit=3&reveal=true")).json()
    second = (await api.get(f"calls?limit=3&before={first['before']}")).json()

    assert [each["arrived"]["traits"]["number_of_contacts"] for each in first["calls"]] == [3, 2, 1]
    assert (len(second["calls"]), second["before"]) == (2, None)
    assert (await api.get("calls/999999")).status_code == 404


async def test_test_call_is_delivered_and_listed(tmp_path: Path, service: Service, api: httpx.AsyncClient) -> None:
    """A test call is ingested like a regular one, delivered, listed, and in the audit log."""
    answer = await api.post("calls/test", json={"email": f" {JOHN.upper()} "})
    await service.until(lambda: service.values(JOHN)[0].get("preferred_name") == "Johnny")
    [test, _] = await seen(api, 2, "?reveal=true")
    database = Database(f"sqlite:///{tmp_path / 'data' / 'destination.db'}")
    [entry] = await database.read(activity.recent_actions, str(api.base_url).split("/")[-2], 10)
    await database.close()

    assert answer.json() == {"status": 202, "message": "Accepted."}
    assert (test["way"], test["outcome"]) == ("test", "accepted")
    assert test["arrived"]["traits"]["traits"]["Number of contacts"] == 5800
    assert (entry.actor, entry.action, entry.details) == ("ann", "test call", {})


async def test_invalid_test_call_has_the_response_of_its_sender(service: Service, api: httpx.AsyncClient) -> None:
    """An invalid test call gets the response of its sender; its traits can be replaced."""
    bad = await api.post("calls/test", json={"email": "nobody"})
    other = await api.post("calls/test", json={"email": JOHN, "traits": {"Preferred name": "Other"}})
    await service.until(lambda: service.values(JOHN)[0].get("preferred_name") == "Other")

    assert bad.json()["status"] == 400
    assert "traits.email is not an email address" in bad.json()["message"]
    assert other.json()["status"] == 202


async def test_calls_of_another_account_are_not_found(service: Service, api: httpx.AsyncClient) -> None:
    """Calls of another account are neither listed nor found."""
    await service.identify("bob@example.com", key="key_test_other", secret="x")
    mine = str(api.base_url).rstrip("/").rpartition("/")[2]
    every = (await api.get("http://service/api/accounts")).json()
    [theirs] = [each["id"] for each in every if each["id"] != mine]
    url = f"http://service/api/accounts/{theirs}/calls"
    [call] = (await until(api, url, lambda found: found["calls"]))["calls"]

    assert call["id"] not in [each["id"] for each in await seen(api, 1)]
    assert (await api.get(f"calls/{call['id']}")).status_code == 404
    assert (await api.get(f"{url}/{call['id']}")).status_code == 200
    assert (await api.get("calls?email=bob@example.com")).json()["calls"] == []
    assert (await service.client.get(url)).status_code == 401  # a key that Segment shows is no token


async def test_no_calls_are_kept_if_turned_off(tmp_path: Path) -> None:
    """With the retention of calls turned off there are none, not even a test call."""
    configured = settings(tmp_path, recent_calls=0)
    async with running(configured) as service:
        await service.identify(JOHN)
        async with operator(service, await issued(tmp_path)) as api:
            await api.post("calls/test", json={"email": JOHN})
            url, headers = f"{api.base_url}calls", dict(api.headers)
    async with (
        running(configured) as service,
        httpx.AsyncClient(transport=service.transport, headers=headers) as api,
    ):
        assert (await api.get(url)).json() == {"calls": [], "before": None}
