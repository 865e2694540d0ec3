"""The data connector and the webhook, through the service."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
from sqlalchemy import Connection, text

from prosperstack_destination.auth import credentials as issuing
from prosperstack_destination.auth.api_keys import fingerprint, key_hash
from prosperstack_destination.ingest.documented_call import DOCUMENTED_CALL, DOCUMENTED_EMAIL
from prosperstack_destination.store import accounts, credentials
from prosperstack_destination.store.credentials import CredentialKind
from prosperstack_destination.store.database import Database
from prosperstack_destination.store.models import Lane
from support.connectors import issue_token
from support.service import KEY, Service, running, settings

pytestmark = pytest.mark.anyio
T = TypeVar("T")

JOHN = DOCUMENTED_EMAIL
DESIRED = {
    "number_of_contacts": 5800,
    "is_professional": True,
    "last_contacted": "2021-05-04",
    "preferred_name": "Johnny",
}


async def in_database(folder: Path, work: Callable[[Connection], T]) -> T:
    """Run a unit of work beside the service, as the command line does."""
    database = Database(f"sqlite:///{folder / 'data' / 'destination.db'}")
    try:
        return await database.write(work)
    finally:
        await database.close()


def account_of(connection: Connection, key: str = KEY) -> str:
    account = accounts.find_by_key_hash(connection, key_hash(key))
    assert account is not None
    return account.id


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    async with running(settings(tmp_path)) as service:
        assert (await service.client.post("/identify", json=DOCUMENTED_CALL)).status_code == 202
        await service.until(lambda: service.values(JOHN) == [DESIRED])
        yield service


@pytest.fixture
async def token(service: Service, tmp_path: Path) -> str:  # noqa: ARG001 -- it opens the account
    return await in_database(tmp_path, lambda connection: issue_token(connection, account_of(connection)))


async def asked(service: Service, token: str, **subscriber: object) -> httpx.Response:
    body = {"data_connector_id": "dcon_1", "data": {"subscriber": subscriber}}
    return await service.client.post(f"/data-connector/{token}", json=body)


async def test_response_has_newest_properties(service: Service, token: str) -> None:
    """The response has the desired properties of the profile, delivered or not."""
    await service.identify(JOHN.upper(), preferred_name="", number_of_contacts=1)
    answer = await asked(service, token, email=f" {JOHN.upper()} ")

    assert answer.json() == {**DESIRED, "preferred_name": None, "number_of_contacts": 1}
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"


async def test_person_is_found_by_id(service: Service, token: str) -> None:
    """Without an email, a person is found by ProsperStack's ID or the billing platform's."""
    fields: dict[str, Any] = next(service.account().data.subscribers.after(0, JOHN)).fields
    by_id = await asked(service, token, id=fields["id"])
    by_platform = await asked(service, token, id="subr_other", platform_id=fields["platform_id"])

    assert by_id.json() == by_platform.json() == DESIRED


@pytest.mark.parametrize("body", [b"{}", b"no JSON", b'{"data": {"subscriber": {"email": "nobody@example.com"}}}'])
async def test_unknown_person_gets_empty_response(service: Service, token: str, body: bytes) -> None:
    """An unknown person, and an invalid call, get an empty response and no error."""
    answer = await service.client.post(f"/data-connector/{token}", content=body)

    assert (answer.status_code, answer.content) == (200, b"{}")


async def test_cancelling_person_is_prioritized(service: Service, token: str, tmp_path: Path) -> None:
    """Both endpoints prioritize the person who starts to cancel."""

    def lanes(connection: Connection) -> list[int]:
        found = text("SELECT lane FROM profiles WHERE email IN ('ann@example.com', 'bob@example.com')")
        return list(connection.scalars(found))

    for email in ("ann@example.com", "bob@example.com"):  # no subscribers: they wait to be looked up again
        await service.identify(email, preferred_name="x")
    await asked(service, token, email="bob@example.com")
    event = {"event": "flow_session_started", "data": {"subscriber": {"email": "ann@example.com"}}}
    noted = await service.client.post(f"/flow-webhook/{token}", json=event)
    ended = await service.client.post(f"/flow-webhook/{token}", json={**event, "event": "flow_session_completed"})
    odd = await service.client.post(f"/flow-webhook/{token}", content=b"?")
    async with asyncio.timeout(10):
        while await in_database(tmp_path, lanes) != [Lane.CANCELLING] * 2:
            pass

    assert (noted.status_code, noted.json()) == (200, {"message": "Noted."})
    assert ended.json()["message"].startswith("Ignored")
    assert odd.status_code == 200
    assert odd.json()["message"].startswith("Ignored")


async def test_locked_database_does_not_delay_response(service: Service, token: str, tmp_path: Path) -> None:
    """A locked database does not delay the response."""
    with sqlite3.connect(tmp_path / "data" / "destination.db", isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        answer = await asked(service, token, email=JOHN)
        other.execute("ROLLBACK")

    assert answer.json() == DESIRED


async def test_revoked_token_is_refused(service: Service, token: str, tmp_path: Path) -> None:
    """A revoked token and an unknown one are refused; another token of the account works."""

    def work(connection: Connection) -> str:
        account = accounts.get(connection, account_of(connection))
        assert account is not None
        issuing.revoke(connection, CredentialKind.CONNECTOR, account, fingerprint(token), "me", 1)
        return issue_token(connection, account.id)

    other = await in_database(tmp_path, work)
    revoked, unknown = await asked(service, token, email=JOHN), await asked(service, "psc_made_up", email=JOHN)

    assert (revoked.status_code, unknown.status_code) == (401, 401)
    assert "connectors issue" in revoked.json()["message"]
    assert (await asked(service, other, email=JOHN)).json() == DESIRED


async def test_accounts_are_isolated(service: Service, tmp_path: Path) -> None:
    """A token returns no data of another account's people, by email or by ID."""
    await service.identify("other@example.com", key="key_test_other")
    other = await in_database(
        tmp_path, lambda connection: issue_token(connection, account_of(connection, "key_test_other"))
    )
    fields: dict[str, Any] = next(service.account().data.subscribers.after(0, JOHN)).fields
    answers = [
        await asked(service, other, email=JOHN),
        await asked(service, other, id=fields["id"]),
        await asked(service, other, platform_id=fields["platform_id"]),
    ]

    assert [answer.content for answer in answers] == [b"{}"] * 3


async def test_tokens_are_stored_as_hashes(service: Service, token: str, tmp_path: Path) -> None:
    """Tokens are stored as hashes, with the minute of their latest use."""
    await asked(service, token, email=JOHN)

    def used(connection: Connection) -> int | None:
        [one] = credentials.of_kind(connection, CredentialKind.CONNECTOR, account_of(connection))
        return one.last_used_at

    async with asyncio.timeout(10):
        while await in_database(tmp_path, used) is None:
            pass
    everything = b"".join(path.read_bytes() for path in (tmp_path / "data").iterdir())
    assert token.encode() not in everything
    assert key_hash(token).encode() in everything


async def test_response_format_follows_setting(tmp_path: Path) -> None:
    """A setting puts the properties under a name."""
    async with running(settings(tmp_path, data_connector_shape="properties")) as service:
        await service.client.post("/identify", json=DOCUMENTED_CALL)
        token = await in_database(tmp_path, lambda connection: issue_token(connection, account_of(connection)))
        answer = await asked(service, token, email=JOHN)
        stranger = await asked(service, token, email="nobody@example.com")

    assert answer.json() == {"properties": DESIRED}
    assert stranger.json() == {}
