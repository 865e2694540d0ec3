"""One account's keys, tokens and ids open nothing of another's, by whatever route."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from hashlib import sha1
from hmac import new as hmac
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Connection

from prosperstack_destination.auth import credentials as issuing
from prosperstack_destination.auth.api_keys import fingerprint, key_hash
from prosperstack_destination.auth.vault import Vault
from prosperstack_destination.errors import InvalidInput, NotFoundError
from prosperstack_destination.store import accounts, profiles
from prosperstack_destination.store.accounts import Account
from prosperstack_destination.store.credentials import CredentialKind
from prosperstack_destination.store.database import Database
from support.service import KEY, Service, running, settings

pytestmark = pytest.mark.anyio

MINE, THEIRS = KEY, "key_test_other"
BOB = "bob@example.com"
SECRET = "a secret that is long enough"


@dataclass(frozen=True)
class World:
    """Two accounts of one service; Bob is known to the other one, by user id and email."""

    service: Service
    database: Database
    mine: Account
    theirs: Account

    async def bob(self) -> dict[str, object]:
        """What the other account knows of Bob."""
        profile = await self.database.read(profiles.find, self.theirs.id, BOB)
        return {} if profile is None else {**profile.values()}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    def both(connection: Connection) -> list[Account]:
        found = [accounts.find_by_key_hash(connection, key_hash(key)) for key in (MINE, THEIRS)]
        return [account for account in found if account is not None]

    database = Database(f"sqlite:///{tmp_path / 'data' / 'destination.db'}")
    async with running(settings(tmp_path, secret_key=SECRET)) as service:
        await service.identify("ann@example.com", plan="x")
        call = {"type": "identify", "userId": "bob", "traits": {"email": BOB, "preferred_name": "Bob"}}
        await service.client.post("/identify", json=call, auth=(THEIRS, ""))
        mine, theirs = await database.read(both)
        yield World(service, database, mine, theirs)
    await database.close()


def signed(secret: str, body: bytes) -> dict[str, str]:
    return {"X-Signature": hmac(secret.encode(), body, sha1).hexdigest()}


async def test_a_call_without_an_email_finds_nobody_elses(world: World) -> None:
    """Another account's user id is nobody's here: nothing of that person is told, and nothing reaches them."""
    call = {"type": "identify", "userId": "bob", "traits": {"preferred_name": "Mallory"}}
    sent = await world.service.client.post("/identify", json=call, auth=(MINE, ""))
    asked = await world.service.client.post("/identify?dry_run=true", json=call, auth=(MINE, ""))

    assert (sent.status_code, asked.status_code) == (400, 400)
    assert BOB not in sent.text + asked.text
    assert await world.bob() == {"email": BOB, "preferred_name": "Bob"}


async def test_the_same_email_is_another_person_here(world: World) -> None:
    """The same email in two accounts is two profiles: what one writes or deletes stays its own."""
    call = {"type": "identify", "userId": "bob", "traits": {"email": BOB, "preferred_name": "Mallory"}}
    await world.service.client.post("/identify", json=call, auth=(MINE, ""))
    await world.service.client.post("/identify", json={"type": "delete", "userId": "bob"}, auth=(MINE, ""))
    await world.service.client.post("/v1/batch", json={"writeKey": MINE, "batch": [call]})

    assert await world.bob() == {"email": BOB, "preferred_name": "Bob"}


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
async def test_another_accounts_url(world: World, method: str) -> None:
    """With a key or a signature of one's own another account's URL is refused, as one is that is nobody's."""
    secret = await world.database.write(
        lambda connection: issuing.issue_secret(connection, world.mine, "mine", Vault(SECRET), "me", 1).text
    )
    theirs = await world.database.write(
        lambda connection: issuing.issue_secret(connection, world.theirs, "theirs", Vault(SECRET), "me", 1).text
    )
    body = json.dumps({"traits": {"email": BOB, "preferred_name": "Mallory"}}).encode()

    async def sent(account_id: str, **kwargs: object) -> httpx.Response:
        return await world.service.client.request(method, f"/webhook/{account_id}", content=body, **kwargs)  # type: ignore[arg-type]

    by_key = await sent(world.theirs.id, auth=(MINE, ""))
    by_signature = await sent(world.theirs.id, auth=None, headers=signed(secret, body))
    nobodys = await sent("acct_nobody", auth=None, headers=signed(secret, body))
    right = await sent(world.theirs.id, auth=None, headers=signed(theirs, body))

    assert [each.status_code for each in (by_key, by_signature, nobodys, right)] == [401, 401, 401, 202]
    assert not any(BOB in each.text for each in (by_key, by_signature, nobodys))


async def test_operators_commands_keep_to_an_account(world: World) -> None:
    """A key, a secret or a connector of one account cannot be revoked by naming the other."""
    key = await world.database.write(lambda c: issuing.issue_key(c, world.theirs, "k", "me", 1))
    token = await world.database.write(lambda c: issuing.issue_connector(c, world.theirs, "c", "me", 1))

    for work in (
        lambda c: issuing.revoke(c, CredentialKind.KEY, world.mine, key.id, "me", 2),
        lambda c: issuing.revoke(c, CredentialKind.CONNECTOR, world.mine, token.id, "me", 2),
    ):
        with pytest.raises(NotFoundError, match="has no"):
            await world.database.write(work)
    answer = await world.service.client.post(
        f"/data-connector/{token.text}", json={"data": {"subscriber": {"email": BOB}}}
    )
    assert answer.json() == {"preferred_name": "Bob"}


async def test_a_refused_key_stops_only_its_own_account(world: World) -> None:
    """While one account is stopped, and its callers are refused, the other's calls are delivered."""
    world.service.sandbox_app.state.accounts.pop(MINE)
    await world.service.identify("ann@example.com", plan="y")
    email = next(each.fields["email"] for each in world.service.account(THEIRS).data.subscribers.after(5))
    answer = await world.service.identify(email, key=THEIRS, preferred_name="Delivered")

    assert answer.status_code == 202
    await world.service.until(
        lambda: any(each.get("preferred_name") == "Delivered" for each in world.service.values(email, THEIRS))
    )


def is_stopped(connection: Connection, account_id: str) -> bool:
    account = accounts.get(connection, account_id)
    return account is not None and account.status in accounts.STOPPED_STATUSES


async def test_a_broken_key_is_replaced(world: World) -> None:
    """An account whose key was deleted delivers what waited once it has another; nobody's key can be taken over."""
    keys = world.service.sandbox_app.state.accounts
    email = next(each.fields["email"] for each in world.service.account(MINE).data.subscribers.after(5))
    keys["key_test_new"] = keys.pop(MINE)
    await world.service.identify(email, preferred_name="Delivered")

    async with asyncio.timeout(10):
        while not await world.database.read(is_stopped, world.mine.id):
            pass

    def work(connection: Connection, key: str) -> Account:
        return issuing.replace_key(connection, world.mine, key, Vault(SECRET), "me", 1)

    for wrong in ("sk_1", "key_live_mode", THEIRS):
        with pytest.raises(InvalidInput):
            await world.database.write(work, wrong)
    renewed = await world.database.write(work, "key_test_new")

    assert renewed.fingerprint == fingerprint("key_test_new")
    await world.service.until(
        lambda: {"preferred_name": "Delivered"}.items() <= world.service.values(email, "key_test_new")[0].items()
    )
    assert (await world.service.identify(email, key="key_test_new")).status_code == 202


async def test_ids_cannot_be_guessed(world: World) -> None:
    """Account ids, keys, secrets and tokens are long and random; what is shown of a key does not give it away."""
    keys = [
        await world.database.write(lambda c: issuing.issue_key(c, world.mine, "k", "me", 1).text) for _ in range(20)
    ]
    tokens = [
        await world.database.write(lambda c: issuing.issue_connector(c, world.mine, "c", "me", 1).text)
        for _ in range(20)
    ]

    assert len({*keys, *tokens}) == 40
    assert all(len(each) >= 36 for each in (*keys, *tokens))
    assert len(world.mine.id) >= 21
    assert not any(fingerprint(each) in each for each in (*keys, *tokens))
