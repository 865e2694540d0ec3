"""Arrays of events and signed requests, as Segment's Webhooks (Actions) destination sends them."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from prosperstack_destination.auth import credentials as issuing
from prosperstack_destination.auth.vault import Vault
from prosperstack_destination.clock import system_clock
from prosperstack_destination.ingest.signature import sign
from prosperstack_destination.store import accounts, credentials
from prosperstack_destination.store.credentials import CredentialKind
from prosperstack_destination.store.database import Database
from support.service import Service, running, settings

pytestmark = pytest.mark.anyio

JOHN = "john.doe@example.com"
VAULT = Vault("a secret that is long enough")


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    async with running(settings(tmp_path)) as service:
        yield service


@pytest.fixture
async def database(tmp_path: Path, service: Service) -> AsyncIterator[Database]:
    """The service's own database, as the command line opens it, with an account in it."""
    await service.identify(JOHN)
    database = Database(f"sqlite:///{tmp_path / 'data/destination.db'}")
    yield database
    await database.close()


@pytest.fixture
async def account(database: Database) -> accounts.Account:
    [account] = await database.read(accounts.all_accounts)
    return account


@pytest.fixture
async def secret(database: Database, account: accounts.Account) -> str:
    return (await database.write(issuing.issue_secret, account, "webhook", VAULT, "test", system_clock())).text


def event(name: str, email: str = JOHN) -> dict[str, Any]:
    return {"type": "identify", "traits": {"email": email, "preferred_name": name}}


async def post(
    service: Service, account: accounts.Account, body: bytes, signature: str | None, method: str = "POST"
) -> httpx.Response:
    headers = {} if signature is None else {"X-Signature": signature}
    url = f"/webhook/{account.id}"
    return await service.client.request(method, url, content=body, headers=headers, auth=httpx.Auth())


async def test_an_array_is_taken(service: Service) -> None:
    """The events of an array are taken in, however many there are of one person."""
    events = [event(f"{n}", f"{n}@example.com") for n in range(150)] + [event("last")]

    response = await service.client.post("/identify", json=events)

    assert (response.status_code, response.json()) == (202, {"message": "Accepted 151 of 151 events."})
    await service.until(lambda: service.values(JOHN)[0]["preferred_name"] == "last")


async def test_the_events_of_an_array_keep_their_order(service: Service) -> None:
    """Of events that share a time the last of the array wins, also over a deletion before it."""
    events = [event("first"), {"type": "delete", "userId": "u1"}, event("z"), event("last")]
    response = await service.client.post("/identify", json=[{**each, "userId": "u1"} for each in events])

    assert response.status_code == 202
    await service.until(lambda: service.values(JOHN)[0]["preferred_name"] == "last")


async def test_the_bad_events_of_an_array_are_named(service: Service) -> None:
    """The good events are kept and the bad ones told by their places; nothing makes Segment send them again."""
    events = [{"type": "track"}, event("kept"), 5, {"traits": {"email": "x"}}, {"userId": "unknown"}]

    response = await service.client.post("/identify", json=events)

    assert response.status_code == 202
    assert response.json()["message"] == "Accepted 1 of 5 events."
    assert [(each["index"], each["message"].split(":")[0]) for each in response.json()["refused"]] == [
        (0, "Calls of type 'track' are not supported"),
        (2, "The body has to be a JSON object, not a number."),
        (3, "traits.email is not an email address"),
        (4, "Missing email address"),
    ]
    await service.until(lambda: service.values(JOHN)[0]["preferred_name"] == "kept")


@pytest.mark.parametrize(
    ("events", "status"),
    [([{"type": "track"}, {"type": "page"}], 501), ([{"type": "track"}, {}], 400), ([{}, {}], 400)],
)
async def test_an_array_of_bad_events_is_refused(service: Service, events: list[Any], status: int) -> None:
    """Where no event is good the whole is refused, and not sent again."""
    response = await service.client.post("/identify", json=events)

    assert response.status_code == status
    assert len(response.json()["refused"]) == 2


async def test_a_large_event_in_an_array(service: Service) -> None:
    """Each event of an array may have what one event may have."""
    events = [{**event("x"), "context": {"pad": "x" * 70_000}}, event("small")]

    response = await service.client.post("/identify", json=events)

    assert [each["index"] for each in response.json()["refused"]] == [0]


async def test_an_array_past_the_limit(tmp_path: Path) -> None:
    """An array may have what the setting says."""
    async with running(settings(tmp_path, max_array_bytes=100_000)) as service:
        body = json.dumps([event("x")] * 2_000).encode()
        response = await service.client.post("/identify", content=body)

    assert response.status_code == 413


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
async def test_a_signed_event(service: Service, account: accounts.Account, secret: str, method: str) -> None:
    """A signature over the body is enough, with any of the methods that the destination may use."""
    body = json.dumps(event(f"by {method}")).encode()

    response = await post(service, account, body, sign(body, secret), method)

    assert response.status_code == 202, response.text
    await service.until(lambda: service.values(JOHN)[0]["preferred_name"] == f"by {method}")


async def test_a_signed_array(service: Service, account: accounts.Account, secret: str) -> None:
    """An array is signed over its first event's own text, white space and all, or as a whole."""
    first = b'{ "type":"identify",  "traits": {"email": "john.doe@example.com", "preferred_name": "\xc3\xa9" } }'
    body = b"[ " + first + b" , " + json.dumps(event("x", "x@y.z")).encode() + b" ]"

    for signed in (first, body):
        response = await post(service, account, body, sign(signed, secret))

        assert response.json() == {"message": "Accepted 2 of 2 events."}


@pytest.mark.parametrize("authorization", ["Bearer abc", "Token abc", "Basic bm9uc2Vuc2U6", "nonsense"])
async def test_authorization_beside_a_signature(
    service: Service, account: accounts.Account, secret: str, authorization: str
) -> None:
    """Where an account has a secret its signature decides, whatever a proxy or a setting adds to the request."""
    body = json.dumps(event("signed")).encode()
    url, headers = f"/webhook/{account.id}", {"Authorization": authorization}

    good = await service.client.post(
        url, content=body, headers={**headers, "X-Signature": sign(body, secret)}, auth=httpx.Auth()
    )
    forged = await service.client.post(
        url, content=body, headers={**headers, "X-Signature": sign(body, "x")}, auth=httpx.Auth()
    )
    alone = await service.client.post(url, content=body, headers=headers, auth=httpx.Auth())

    assert (good.status_code, forged.status_code, alone.status_code) == (202, 401, 401)


async def test_a_batch_of_the_extensible_webhook(service: Service, account: accounts.Account, secret: str) -> None:
    """Events that Segment's Extensible Webhook wraps are taken, and the bad ones among them named."""
    body = json.dumps([{"json": event("wrapped")}, {"json": {"type": "track"}}, {"json": 5}]).encode()

    response = await post(service, account, body, sign(body, secret))

    assert response.json()["message"] == "Accepted 1 of 3 events."
    assert [each["index"] for each in response.json()["refused"]] == [1, 2]
    await service.until(lambda: service.values(JOHN)[0]["preferred_name"] == "wrapped")


@pytest.mark.parametrize("wrong", ["over another event", "by another secret", "missing"])
async def test_a_wrong_signature(service: Service, account: accounts.Account, secret: str, wrong: str) -> None:
    """What is signed otherwise, or not at all, is refused; nothing of it is kept."""
    first, second = json.dumps(event("forged")).encode(), json.dumps(event("x")).encode()
    body = b"[" + first + b"," + second + b"]"
    signature = {"over another event": sign(second, secret), "by another secret": sign(first, "x")}.get(wrong)

    response = await post(service, account, body, signature)

    assert response.status_code == 401
    await service.identify(JOHN, number_of_contacts=9)
    await service.until(lambda: service.values(JOHN)[0]["number_of_contacts"] == 9)
    assert service.values(JOHN)[0]["preferred_name"] == "John"


@pytest.mark.usefixtures("secret")
async def test_a_signature_beside_a_key_counts(service: Service) -> None:
    """Who shows a key and signs wrongly is refused all the same."""
    response = await service.client.post("/identify", json=event("x"), headers={"X-Signature": "00"})

    assert response.status_code == 401


async def test_secrets_are_rotated(
    service: Service, database: Database, account: accounts.Account, secret: str
) -> None:
    """Two secrets are good side by side; a revoked one is refused within seconds."""
    newer = (await database.write(issuing.issue_secret, account, "newer", VAULT, "test", system_clock())).text
    body = json.dumps(event("x")).encode()
    assert (await post(service, account, body, sign(body, newer))).status_code == 202
    assert (await post(service, account, body, sign(body, secret))).status_code == 202

    old = (await database.read(credentials.of_kind, CredentialKind.SECRET, account.id))[-1]
    await database.write(issuing.revoke, CredentialKind.SECRET, account, old.id, "test", system_clock())
    async with asyncio.timeout(5):
        while (await post(service, account, body, sign(body, secret))).status_code != 401:
            pass  # what is known of an account is believed for two seconds
    assert (await post(service, account, body, sign(body, newer))).status_code == 202


async def test_a_secrets_last_use(
    service: Service, database: Database, account: accounts.Account, secret: str
) -> None:
    """Which secret signed something, and when, can be told; what is refused does not count."""
    await database.write(issuing.issue_secret, account, "newer", VAULT, "test", system_clock())
    body = json.dumps(event("x")).encode()
    await post(service, account, body, sign(body, "forged"))
    before = await database.read(credentials.of_kind, CredentialKind.SECRET, account.id)
    now = system_clock()
    await post(service, account, body, sign(body, secret))
    newer, used = await database.read(credentials.of_kind, CredentialKind.SECRET, account.id)
    await post(service, account, body, sign(body, secret))

    assert [each.last_used_at for each in (*before, newer)] == [None, None, None]
    assert used.last_used_at is not None
    assert now <= used.last_used_at <= system_clock()
    after = await database.read(credentials.of_kind, CredentialKind.SECRET, account.id)
    assert after[1] == used  # it is noted once in a minute


async def test_no_account_and_no_secret(service: Service, account: accounts.Account) -> None:
    """A URL of no account, and an account without secrets, take no signed requests."""
    body = b"{}"
    unknown = await service.client.post(
        "/webhook/acct_nobody", content=body, headers={"X-Signature": sign(body, "x")}, auth=httpx.Auth()
    )

    assert unknown.status_code == 401
    assert (await post(service, account, body, sign(body, "x"))).status_code == 401


async def test_anothers_key_does_not_open_the_url(service: Service, account: accounts.Account) -> None:
    """A key of one account is no key for another's URL."""
    response = await service.client.post(f"/webhook/{account.id}", json=event("x"), auth=("key_test_other", ""))

    assert response.status_code == 401


async def test_an_issued_key(service: Service, database: Database, account: accounts.Account) -> None:
    """An issued key opens its account until it is revoked; each use is noted."""
    key = (await database.write(issuing.issue_key, account, "segment", "test", system_clock())).text
    assert (await service.identify(JOHN, key=key, preferred_name="issued")).status_code == 202

    [issued] = [
        each
        for each in await database.read(credentials.of_kind, CredentialKind.KEY, account.id)
        if each.name == "segment"
    ]
    assert issued.last_used_at is not None
    await database.write(issuing.revoke, CredentialKind.KEY, account, issued.id, "test", system_clock())
    async with asyncio.timeout(5):
        while (await service.identify(JOHN, key=key)).status_code != 401:
            pass  # what is known of a key is believed for two seconds


async def test_a_deletion_clears_what_was_written(service: Service) -> None:
    """A Delete call forgets the person, and clears in ProsperStack what this service wrote, and nothing else."""
    call = {"userId": "u1", "traits": {"email": JOHN, "preferred_name": "Me"}, "timestamp": "2026-01-01T00:00:00Z"}
    await service.client.post("/identify", json=call)
    await service.until(lambda: service.values(JOHN)[0]["preferred_name"] == "Me")

    deletion: dict[str, Any] = {"type": "delete", "userId": "u1", "context": None, "integrations": []}
    deleted = await service.client.post("/identify", json=deletion)
    await service.until(lambda: "preferred_name" not in service.values(JOHN)[0])
    again = await service.client.post("/identify", json=call)

    assert (deleted.status_code, deleted.json()["message"]) == (202, "Accepted: the person is forgotten.")
    assert (again.status_code, again.json()["message"]) == (
        200,
        "Ignored: the person was deleted after this event.",
    )
    assert service.values(JOHN)[0]["number_of_contacts"] == 120


async def test_engage_sends_everybody_twice(service: Service) -> None:
    """The call without an email is held, and no failure; its value is there when the email comes."""
    context = {"personas": {"computation_class": "audience", "computation_key": "is_professional"}}
    alone = {"userId": "u7", "traits": {"is_professional": True}, "context": context}

    held = await service.client.post("/identify", json=alone)
    known = await service.client.post("/identify", json={"userId": "u7", "traits": {"email": JOHN}})

    assert (held.status_code, known.status_code) == (202, 202)
    assert "held until" in held.json()["message"]
    await service.until(lambda: service.values(JOHN)[0]["is_professional"] is True)


async def test_an_explanation_by_id(service: Service) -> None:
    """A call with a known id and no email is explained by it; an unknown one is told."""
    await service.client.post("/identify", json={"userId": "u8", "traits": {"email": JOHN}})
    url = "/identify?dry_run=1"

    known = await service.client.post(url, json={"userId": "u8", "traits": {"preferred_name": "x"}})
    unknown = await service.client.post(url, json={"userId": "u9", "traits": {"preferred_name": "x"}})
    deletion = await service.client.post(url, json={"type": "delete", "userId": "u8"})

    assert known.json()["email"] == {"value": JOHN, "foundIn": "ids"}
    assert (unknown.status_code, deletion.status_code) == (400, 400)
    assert "no email is known for the ids" in unknown.json()["message"]


async def test_junk_for_an_email(service: Service) -> None:
    """A known id decides where the email is junk, which the explanation names; an unknown one is told of both."""
    await service.client.post("/identify", json={"userId": "u8", "traits": {"email": JOHN}})
    call: dict[str, Any] = {"userId": "u8", "traits": {"email": "n/a", "preferred_name": "By id"}}

    explained = await service.client.post("/identify?dry_run=1", json=call)
    taken = await service.client.post("/identify", json=call)
    call["userId"] = "u9"
    unknown = [await service.client.post(f"/identify{query}", json=call) for query in ("", "?explain=1")]

    assert explained.json()["email"] == {"value": JOHN, "foundIn": "ids"}
    assert explained.json()["ignored"][0]["trait"] == "traits.email"
    assert "not an email address" in explained.json()["ignored"][0]["reason"]
    assert taken.status_code == 202
    await service.until(lambda: service.values(JOHN)[0]["preferred_name"] == "By id")
    for answer in unknown:
        assert answer.status_code == 400
        assert "no email is known for the ids" in answer.json()["message"]
        assert "traits.email is not an email address" in answer.json()["message"]
