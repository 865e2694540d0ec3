"""What was sent to ProsperStack and what came back, in the feed of events."""

from pathlib import Path

import httpx
import pytest
from sqlalchemy import Connection

from prosperstack_destination.auth.vault import Vault, pseudonym_of_email
from prosperstack_destination.sandbox import SandboxConfig, create_sandbox
from prosperstack_destination.settings import Settings
from prosperstack_destination.store import accounts, activity, rollups
from prosperstack_destination.store.activity import Event, EventKind
from prosperstack_destination.store.database import Database
from prosperstack_destination.store.rollups import Bucket
from support.service import KEY, running, settings

pytestmark = pytest.mark.anyio

JOHN = "john.doe@example.com"
SUBJECT = pseudonym_of_email(Vault("a secret that is long enough"), JOHN)


async def found(configured: Settings) -> tuple[list[Event], int]:
    """The events of the only account, and how many values were sent, once the service has stopped."""

    def work(connection: Connection) -> tuple[list[Event], int]:
        [account] = accounts.all_accounts(connection)
        latest, _ = activity.latest(connection, account.id, limit=1000)
        return latest, sum(each.properties for each in rollups.of_account(connection, account.id, Bucket.HOUR, 0))

    database = Database(configured.effective_database_url)
    result = await database.read(work)
    await database.close()
    return result


async def test_an_update(tmp_path: Path) -> None:
    """A request is shown with whose it is, the subscriber and the keys that were sent, and never with a value."""
    configured = settings(tmp_path)
    async with running(configured) as service:
        await service.identify(JOHN, preferred_name="Zanzibar", number_of_contacts=4711)
        await service.until(lambda: service.values(JOHN)[0].get("preferred_name") == "Zanzibar")
        subscriber = next(service.account().data.subscribers.after(0, JOHN)).fields["id"]
    latest, values = await found(configured)
    [request] = [each for each in latest if each.kind is EventKind.REQUEST and "properties" in each.details]
    milliseconds = request.details["ms"]

    assert (request.outcome, request.subject) == ("200", SUBJECT)
    assert request.details == {
        "request": "PATCH /subscribers/{id}",
        "id": subscriber,
        "properties": ["number_of_contacts", "preferred_name"],
        "ms": milliseconds,
    }
    assert isinstance(milliseconds, int)
    assert 0 <= milliseconds < 10_000
    assert values == 2
    assert not any(secret in repr(latest) for secret in ("Zanzibar", "4711", JOHN))
    assert [each.outcome for each in latest if each.kind is EventKind.DELIVERY] == ["delivered"]


async def test_what_fails(tmp_path: Path) -> None:
    """What ProsperStack says of a request that it rejects is shown, without the values; so is what follows it."""
    sandbox = create_sandbox(SandboxConfig(subscribers=5, keys=(KEY,), rate_limit=10_000))
    to_sandbox = httpx.ASGITransport(sandbox)

    async def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "PATCH" and b"Zanzibar" in request.content:
            return httpx.Response(
                400, json={"error": f"preferred_name: 'Zanzibar' of {JOHN} is none, nor is zanzibar"}
            )
        return await to_sandbox.handle_async_request(request)

    configured = settings(tmp_path)
    async with running(configured, sandbox, httpx.MockTransport(answer)) as service:
        await service.identify(JOHN, preferred_name="Zanzibar", number_of_contacts=4711)
        await service.until(lambda: service.values(JOHN)[0].get("number_of_contacts") == 4711)
    latest, values = await found(configured)
    requests = [each for each in latest if each.kind is EventKind.REQUEST and "properties" in each.details]

    assert [each.outcome for each in requests[:2]] == ["400", "200"]
    assert requests[0].details["said"] == "preferred_name: '…' of … is none, nor is …"
    assert (requests[1].details["properties"], values) == (["number_of_contacts"], 1)
    assert not any(secret in repr(latest) for secret in ("Zanzibar", "zanzibar", "4711", JOHN))


async def test_a_request_of_nobody_in_particular(tmp_path: Path) -> None:
    """A listing is shown only if it fails; a look-up is somebody's."""
    sandbox = create_sandbox(SandboxConfig(subscribers=5, keys=(KEY,), rate_limit=10_000))
    to_sandbox = httpx.ASGITransport(sandbox)
    failures = iter([httpx.Response(503, json={"error": "away"})])

    async def answer(request: httpx.Request) -> httpx.Response:
        failure = next(failures, None) if request.url.path == "/v1/subscribers" else None
        return failure or await to_sandbox.handle_async_request(request)

    configured = settings(tmp_path)
    async with running(configured, sandbox, httpx.MockTransport(answer)) as service:
        await service.identify(JOHN, preferred_name="Johnny")
        await service.until(lambda: service.values(JOHN)[0].get("preferred_name") == "Johnny", 30)
    requests = [each for each in (await found(configured))[0] if each.kind is EventKind.REQUEST]

    assert {each.details["request"] for each in requests if each.outcome == "503"} == {"GET /subscribers"}
    assert all(
        each.details["said"] == "ProsperStack answered 503: away" for each in requests if each.outcome == "503"
    )
    assert all(each.subject == SUBJECT for each in requests if each.outcome == "200")
