"""An Identify call in, custom properties out."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.types import Message

from prosperstack_destination.app import create_app
from prosperstack_destination.errors import ConfigurationError
from prosperstack_destination.ingest.documented_call import DOCUMENTED_CALL, DOCUMENTED_EMAIL
from prosperstack_destination.sandbox import SandboxConfig, create_sandbox
from support.service import KEY, UPDATED, Service, running, settings

pytestmark = pytest.mark.anyio

JOHN = DOCUMENTED_EMAIL
DOCUMENTED = {
    "number_of_contacts": 5800,
    "is_professional": True,
    "last_contacted": "2021-05-04",
    "preferred_name": "Johnny",
}


@pytest.fixture
async def service(tmp_path: Path, database_url: str) -> AsyncIterator[Service]:
    async with running(settings(tmp_path, database_url=database_url)) as service:
        yield service


async def test_the_documented_example(service: Service) -> None:
    """The documented call sets the four documented properties, in three requests and no more."""
    response = await service.client.post("/identify", json=DOCUMENTED_CALL)

    assert (response.status_code, response.json()) == (202, {"message": "Accepted."})
    await service.until(lambda: service.values(JOHN) == [DOCUMENTED])
    assert await service.asked(updates=1) == {
        "GET /v1/properties 200": 1,  # whether the key is good, and what there is to map to
        "GET /v1/subscribers 200": 1,
        UPDATED: 1,
    }


async def test_nothing_is_sent_twice(service: Service) -> None:
    """A repeated call, and one that says what ProsperStack has already, cost no update."""
    for _ in range(3):
        await service.client.post("/identify", json=DOCUMENTED_CALL)
        await service.until(lambda: service.values(JOHN) == [DOCUMENTED])
    await service.identify(JOHN, number_of_contacts="5800", plan="no such property")
    await service.identify(JOHN, preferred_name="John")
    await service.until(lambda: service.values(JOHN) == [{**DOCUMENTED, "preferred_name": "John"}])

    assert (await service.asked(updates=2))[UPDATED] == 2


async def test_every_subscriber_with_the_email(service: Service) -> None:
    """An email that two subscribers share updates both; its case does not matter."""
    shared = service.share_email()

    await service.identify(shared.upper(), preferred_name="Both")

    await service.until(lambda: [each.get("preferred_name") for each in service.values(shared)] == ["Both"] * 2)


async def test_strangers_are_no_failure(service: Service) -> None:
    """A call about nobody that ProsperStack knows is accepted, and costs one look."""
    response = await service.identify("stranger@example.com", preferred_name="x")
    await service.identify(JOHN, preferred_name="after")
    await service.until(lambda: service.values(JOHN)[0]["preferred_name"] == "after")

    assert response.status_code == 202
    while (asked := await service.asked(updates=1))["GET /v1/subscribers 200"] < 2:  # the newest went first
        pass
    assert asked["GET /v1/subscribers 200"] == 2


async def test_null_deletes(service: Service) -> None:
    """null and "" delete a property's value."""
    await service.identify(JOHN, preferred_name=None, last_contacted="")

    await service.until(lambda: service.values(JOHN) == [{"number_of_contacts": 120, "is_professional": False}])


async def test_the_newest_event_wins_in_any_order(service: Service) -> None:
    """Calls out of order and repeated leave the newest value of each trait."""

    def call(day: int, name: str) -> dict[str, Any]:
        traits = {"email": JOHN, "preferred_name": name}
        return {"type": "identify", "timestamp": f"2026-01-{day:02}T00:00:00Z", "traits": traits}

    for day in (3, 9, 5, 9, 1):
        await service.client.post("/identify", json=call(day, f"day {day}"))

    await service.until(lambda: service.values(JOHN)[0]["preferred_name"] == "day 9")
    await service.client.post("/identify", json=call(8, "too late"))
    await service.identify(JOHN, number_of_contacts=1)
    await service.until(lambda: service.values(JOHN)[0]["number_of_contacts"] == 1)
    assert service.values(JOHN)[0]["preferred_name"] == "day 9"


async def test_what_was_edited_by_hand_stays(service: Service) -> None:
    """A property edited in ProsperStack stays until Segment says something new about it."""
    await service.identify(JOHN, preferred_name="Segment")
    await service.until(lambda: service.values(JOHN)[0]["preferred_name"] == "Segment")
    [record] = service.account().data.subscribers.after(0, JOHN)
    by_hand = {"properties": {"preferred_name": "by hand"}}
    await service.sandbox.patch(f"subscribers/{record.fields['id']}", json=by_hand)

    await service.identify(JOHN, preferred_name="Segment", number_of_contacts=2)
    await service.until(lambda: service.values(JOHN)[0]["number_of_contacts"] == 2)
    assert service.values(JOHN)[0]["preferred_name"] == "by hand"

    await service.identify(JOHN, preferred_name="Segment again")
    await service.until(lambda: service.values(JOHN)[0]["preferred_name"] == "Segment again")


async def test_accounts_do_not_mix(service: Service) -> None:
    """Another key writes to another account."""
    await service.identify(JOHN, key="key_test_other", preferred_name="theirs")

    await service.until(lambda: service.values(JOHN, "key_test_other")[0]["preferred_name"] == "theirs")
    assert service.values(JOHN)[0]["preferred_name"] == "John"


async def test_explain(service: Service) -> None:
    """explain=true answers what the call does: email, properties, ignored traits and problems."""
    await service.client.post(
        "/identify",
        json={"timestamp": "2026-01-09T00:00:00Z", "traits": {"email": JOHN, "Is professional": True}},
    )

    response = await service.client.post(
        "/identify?explain=true",
        json={
            "UserID": 7,
            "nickname": "Jo",
            "timestamp": "08/01/2026",
            "sentAt": "2026-01-08T00:00:00Z",
            "traits": {
                "email": "John.Doe@example.com",
                "traits": {
                    "Preferred name": 5,
                    "number_of_contacts": "many",
                    "Is professional": False,
                    "plan": "x",
                },
            },
        },
    )

    assert response.status_code == 200
    assert response.json() == {
        "message": "Accepted.",
        "stored": True,
        "email": {"value": "John.Doe@example.com", "foundIn": "traits.email"},
        "userId": "7",
        "time": {
            "value": "2026-01-08T00:00:00Z",
            "foundIn": "sentAt",
            "skipped": [
                {
                    "field": "timestamp",
                    "value": "08/01/2026",
                    "reason": "it does not say which number is the day and which is the month",
                }
            ],
        },
        "properties": [
            {
                "property": "preferred_name",
                "name": "Preferred name",
                "type": "text",
                "value": "5",
                "trait": "Preferred name",
                "matchedBy": "name",
            }
        ],
        "ignored": [
            {"trait": "email", "reason": "it tells whose properties these are; no property has this key or name"},
            {
                "trait": "Is professional",
                "reason": "outdated: a value with the later time 2026-01-09T00:00:00Z is known",
            },
            {"trait": "plan", "reason": "no property has this key or name, and no rule uses it"},
            {
                "trait": "nickname",
                "reason": "it is a field beside the traits: put it into traits to have it stored",
            },
        ],
        "problems": [
            {
                "property": "number_of_contacts",
                "trait": "number_of_contacts",
                "value": "many",
                "reason": "the text is not a number (number_of_contacts is a number property)",
            }
        ],
    }


async def test_a_full_profile_says_what_it_drops(service: Service) -> None:
    """What a profile has no room for is named by explain and counted; what is mapped is delivered."""
    traits = {"email": JOHN, "zz": 1, "preferred_name": "kept", **{f"t{n:04}": n for n in range(1_203)}}

    response = await service.client.post("/identify?explain=true", json={"traits": traits})

    explained = response.json()
    assert [each["value"] for each in explained["properties"]] == ["kept"]
    dropped = [each["trait"] for each in explained["ignored"] if each["reason"].startswith("dropped: ")]
    assert len(dropped) == 206
    await service.until(lambda: service.values(JOHN)[0]["preferred_name"] == "kept")
    metrics = (await service.client.get("/metrics")).text
    assert "prosperstack_destination_traits_dropped_total 206.0" in metrics


async def test_a_dry_run_stores_nothing(service: Service) -> None:
    """dry_run=true explains, and neither stores nor sends anything."""
    explained = await service.identify(JOHN, query="?dry_run=true", preferred_name="never")
    await service.identify(JOHN, number_of_contacts=3)
    await service.until(lambda: service.values(JOHN)[0]["number_of_contacts"] == 3)

    assert explained.json()["message"] == "Dry run: nothing was stored."
    assert explained.json()["properties"][0]["value"] == "never"
    assert service.values(JOHN)[0]["preferred_name"] == "John"


@pytest.mark.parametrize(
    ("body", "key", "status", "said"),
    [
        (b"{", KEY, 400, "not valid JSON"),
        (b"[]", KEY, 202, "Accepted 0 of 0 events"),
        (b"5", KEY, 400, "has to be a JSON object"),
        (b'{"traits": "x"}', KEY, 400, "traits has to be an object"),
        (b'{"type": "identify"}', KEY, 400, "Missing email address"),
        (b'{"type": "track", "event": "x"}', KEY, 501, "'track' are not supported"),
        (b'{"integrations": {"ProsperStack": false}}', KEY, 200, "Skipped"),
        (b'{"email": "a@b.c", "traits": {"x": "' + b"x" * 65536 + b'"}}', KEY, 413, "larger than 64 KB"),
        (b"{}", "", 401, "The API key is empty"),
        (b"{}", "none", 401, "The API key is not known"),
        (b"{}", "key_test_wrong", 401, "ProsperStack refuses the API key"),
    ],
)
async def test_statuses(service: Service, body: bytes, key: str, status: int, said: str) -> None:
    """Each kind of fault has the status of Segment's contract, and a message in words."""
    response = await service.client.post("/identify", content=body, auth=(key, ""))

    assert response.status_code == status
    assert response.headers["Content-Type"] == "application/json"
    assert said in response.json()["message"]


async def test_a_body_of_just_64_kb_is_taken(service: Service) -> None:
    """One event may have 64 KB."""
    body = b'{"email": "a@b.c", "traits": {"x": "' + b"x" * (65536 - 40) + b'"}}'

    assert (await service.client.post("/identify", content=body)).status_code == 202


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/identify", 405), ("POST", "/nowhere", 404)])
async def test_other_requests_are_told_in_the_same_form(
    service: Service, method: str, path: str, status: int
) -> None:
    """What is not there is told as every error is."""
    response = await service.client.request(method, path)

    assert response.status_code == status
    assert response.json()["message"]


async def test_an_explanation_that_is_asked_for_wrongly(service: Service) -> None:
    """A flag is true or false."""
    response = await service.identify(JOHN, query="?explain=perhaps")

    assert (response.status_code, response.json()["message"]) == (400, "explain has to be true or false.")


async def test_prosperstack_away(tmp_path: Path) -> None:
    """While ProsperStack is away a new key gets 503, and calls of a known one are accepted and delivered later."""
    sandbox = create_sandbox(SandboxConfig(subscribers=3, keys=(KEY,), rate_limit=10_000))
    inner = httpx.ASGITransport(sandbox)
    away = asyncio.Event()

    class Transport(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if away.is_set():
                raise httpx.ConnectError("away")
            return await inner.handle_async_request(request)

    async with running(settings(tmp_path), sandbox, Transport()) as service:
        away.set()
        refused = await service.identify(JOHN, preferred_name="lost?")
        away.clear()
        await service.identify(JOHN, preferred_name="first")
        await service.until(lambda: service.values(JOHN)[0]["preferred_name"] == "first")
        away.set()
        accepted = await service.identify(JOHN, preferred_name="second")
        away.clear()
        await service.until(lambda: service.values(JOHN)[0]["preferred_name"] == "second")

    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
    assert "has not been verified yet" in refused.json()["message"]
    assert accepted.status_code == 202


async def test_what_was_accepted_survives(tmp_path: Path) -> None:
    """A call that was accepted and not delivered is delivered by the next process."""
    away = httpx.MockTransport(lambda _: httpx.Response(503))
    own = settings(tmp_path, prosperstack_api_key=KEY, segment_keys="segment-1")
    async with running(own, transport=away) as service:
        response = await service.identify(JOHN, key="segment-1", preferred_name="kept")
        assert response.status_code == 202

    async with running(own) as service:
        await service.until(lambda: service.values(JOHN)[0]["preferred_name"] == "kept")


async def test_the_operators_account(tmp_path: Path) -> None:
    """With pass-through off only the keys of the settings are good."""
    own = settings(tmp_path, prosperstack_api_key=KEY, segment_keys="one, two", allow_pass_through=False)
    async with running(own) as service:
        statuses = [(await service.identify(JOHN, key=key, n=1)).status_code for key in ("one", "two", KEY)]

    assert statuses == [202, 202, 401]


async def test_the_rate_limit_is_followed(tmp_path: Path) -> None:
    """Of a window of ten requests one is left to the owner, and none is refused."""
    sandbox = create_sandbox(SandboxConfig(subscribers=20, keys=(KEY,), rate_limit=10, window_seconds=1.0))
    async with running(settings(tmp_path), sandbox) as service:
        people = [each.fields["email"] for each in service.account().data.subscribers.after(0)][:8]
        for email in people:
            await service.identify(email, preferred_name="limited")
        await service.until(
            lambda: all(service.values(email)[0].get("preferred_name") == "limited" for email in people)
        )

        assert not any(operation.endswith("429") for operation in await service.asked())


async def test_health(service: Service) -> None:
    """The process is alive, and ready once the reconciler has looked at the accounts."""
    assert (await service.client.get("/healthz")).json() == {"status": "alive"}

    ready = await service.client.get("/readyz")
    while ready.status_code != 200:
        ready = await service.client.get("/readyz")
    assert ready.json() == {"status": "ready", "database": "ok", "reconciler": "ok"}


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
async def test_probes_may_ask_for_heads(service: Service, path: str) -> None:
    """HEAD is answered as GET is, for probes that ask for no body."""
    while (await service.client.get("/readyz")).status_code != 200:
        pass

    assert (await service.client.head(path)).status_code == 200


@pytest.mark.parametrize(
    ("path", "status"),
    [("/identify/", 202), ("/v1/identify/", 200), ("/v1/import/", 200), ("/v1/batch/", 200)],
)
async def test_a_slash_at_the_end_changes_nothing(service: Service, path: str, status: int) -> None:
    """A receiving path is the same with a slash at its end, as the Java SDK sends it."""
    call = {"traits": {"email": JOHN, "preferred_name": "slash"}}
    body = {"batch": [{"type": "identify", **call}]} if path in ("/v1/import/", "/v1/batch/") else call

    response = await service.client.post(path, json=body)

    assert response.status_code == status, response.text
    await service.until(lambda: service.values(JOHN)[0]["preferred_name"] == "slash")


async def test_the_endpoint_is_documented(service: Service) -> None:
    """However lean it is, /identify stands in the OpenAPI document, with every status it answers."""
    document = (await service.client.get("/openapi.json")).json()

    operation = document["paths"]["/identify"]["post"]
    assert set(operation["responses"]) == {"200", "202", "400", "401", "403", "413", "415", "501", "503"}
    assert "traits" in document["components"]["schemas"]["IdentifyCall"]["properties"]


async def test_a_database_that_needs_a_secret(tmp_path: Path) -> None:
    """Without a file beside which a secret could be kept, SECRET_KEY has to be set."""
    with pytest.raises(ConfigurationError, match="SECRET_KEY is not set"):
        async with running(settings(tmp_path, database_url="sqlite://", secret_key=None)):
            pass


async def test_a_start_that_fails_says_why(tmp_path: Path) -> None:
    """Where a setting keeps the service from starting, the server logs in a sentence which, and no traceback."""
    async with running(settings(tmp_path, secret_key="a" * 32)) as service:
        await service.identify("john.doe@example.com")
    told: list[Message] = []

    async def receive() -> Message:
        return {"type": "lifespan.startup"}

    async def send(message: Message) -> None:
        told.append(message)

    with pytest.raises(ConfigurationError):
        await create_app(settings(tmp_path, secret_key="b" * 32))({"type": "lifespan"}, receive, send)

    [failed] = told
    assert failed["type"] == "lifespan.startup.failed"
    assert failed["message"].startswith("The service cannot start. A stored ")
    assert "SECRET_KEY" in failed["message"]
    assert "Traceback" not in failed["message"]
