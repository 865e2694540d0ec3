"""Tests that no route of one account reads or changes data of another."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Connection, select

from prosperstack_destination.auth import credentials as issuing
from prosperstack_destination.auth.api_keys import key_hash
from prosperstack_destination.auth.vault import Vault
from prosperstack_destination.clock import system_clock
from prosperstack_destination.store import accounts, problems, profile_queries, recent_calls, segment_connections
from prosperstack_destination.store.accounts import Account
from prosperstack_destination.store.database import Database
from prosperstack_destination.store.problems import RecordedProblem
from prosperstack_destination.store.segment_connections import ConnectionKind, Region, SegmentConnection
from prosperstack_destination.store.tables import metadata
from support.operators import issued
from support.recent_calls import arrival
from support.service import KEY, Service, running, settings

pytestmark = pytest.mark.anyio

MINE, THEIRS = KEY, "key_test_other"
BOB = "bob@example.com"
SECRET = "a secret that is long enough"
MAPPING: dict[str, Any] = {"mapping": {"rules": []}}
#: What is not an account's own, or changes by itself.
RESTLESS = {"tallies", "events", "rate_limits", "leases", "directories", "recent_calls"}

#: A body for each route that takes one; None: it takes none. Every route about an account has to be here.
BODIES: dict[tuple[str, str], Any] = {
    ("get", ""): None,
    ("patch", ""): {"reserve": 0.5},
    ("put", "/key"): {"key": "key_test_third"},
    ("post", "/retry"): None,
    ("delete", ""): None,
    ("get", "/overview"): None,
    ("get", "/history"): None,
    ("get", "/sources"): None,
    ("get", "/audit"): None,
    ("get", "/keys"): None,
    ("post", "/keys"): {"name": "x"},
    ("delete", "/keys/{key}"): None,
    ("get", "/secrets"): None,
    ("post", "/secrets"): {"name": "x"},
    ("delete", "/secrets/{secret}"): None,
    ("get", "/connectors"): None,
    ("post", "/connectors"): {"name": "x"},
    ("delete", "/connectors/{connector}"): None,
    ("post", "/segment/workspace"): {},
    ("get", "/segment/connections"): None,
    ("post", "/segment/connections"): {"source_id": "source_theirs", "kind": "webhook"},
    ("post", "/segment/connections/{connection_id}/disconnect"): {"here_only": True},
    ("get", "/segment/token"): None,
    ("put", "/segment/token"): {"token": "x"},
    ("delete", "/segment/token"): None,
    ("get", "/calls"): None,
    ("get", "/calls/{call_id}"): None,
    ("post", "/calls/test"): {"email": "ann@example.com"},
    ("get", "/mapping"): None,
    ("put", "/mapping"): {**MAPPING, "based_on": 0},
    ("post", "/mapping/check"): MAPPING,
    ("post", "/mapping/preview"): MAPPING,
    ("post", "/mapping/try"): MAPPING,
    ("get", "/mapping/history"): None,
    ("post", "/mapping/rollback"): {"version": 0, "based_on": 0},
    ("get", "/mapping/progress"): None,
    ("get", "/coverage"): None,
    ("get", "/problems"): None,
    ("post", "/problems/retry"): {"property": "number_of_contacts", "reason": "theirs"},
    ("get", "/failures"): None,
    ("get", "/replay"): None,
    ("post", "/replay"): {"profile_id": "{profile_id}"},
    ("get", "/profiles"): None,
    ("get", "/profiles/{profile_id}"): None,
    ("delete", "/profiles/{profile_id}"): None,
    ("post", "/profiles/{profile_id}/sync"): None,
    ("post", "/profiles/{profile_id}/retry"): None,
    ("post", "/erase"): {"email": BOB},
}
#: The same with something of the other account's named elsewhere than in the path.
BESIDES: list[tuple[str, str, Any]] = [
    ("post", "/problems/retry", {}),
    ("post", "/replay", {}),
    ("post", "/mapping/try", {**MAPPING, "email": BOB}),
    ("post", "/erase", {"user_id": "bob"}),
    ("get", "/replay?profile_id={profile_id}", None),
    ("get", "/profiles?user_id=bob", None),
    ("get", f"/profiles?email={BOB}", None),
    ("get", f"/calls?email={BOB}&reveal=true", None),
]


@dataclass(frozen=True)
class World:
    """Two accounts of one service; Bob, and all that can be named, is the other one's."""

    api: httpx.AsyncClient
    database: Database
    mine: Account
    theirs: Account
    #: What can be named of the other account, by its place in paths.
    named: dict[str, str]

    async def all_of_theirs(self) -> dict[str, Any]:
        """Every row of the other account's."""
        return await self.database.read(rows_of, self.theirs.id)

    async def ask(self, method: str, path: str, body: Any) -> httpx.Response:
        """Ask about one's own account, with everything else named being the other one's."""
        text = json.dumps(body).replace('"{profile_id}"', self.named["profile_id"])
        path = path.format(**self.named)
        return await self.api.request(
            method.upper(),
            f"/api/accounts/{self.mine.id}{path}",
            json=json.loads(text) if body is not None else None,
        )


def rows_of(connection: Connection, account_id: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for table in metadata.sorted_tables:
        if table.name not in RESTLESS:
            column = table.c.id if table.name == "accounts" else table.c.get("account_id")
            if column is not None:
                query = select(table).where(column == account_id).order_by(*table.primary_key)
                found[table.name] = [dict(row._mapping) for row in connection.execute(query)]
    return found


def settle_theirs(connection: Connection) -> tuple[Account, Account, dict[str, str]]:
    """The two accounts, and everything that can be named of the other one's."""
    mine, theirs = (accounts.find_by_key_hash(connection, key_hash(key)) for key in (MINE, THEIRS))
    assert mine is not None
    assert theirs is not None
    now, vault = system_clock(), Vault(SECRET)
    [bob] = profile_queries.list_page(connection, theirs.id, after="", limit=9).profiles
    found = [RecordedProblem("number_of_contacts", "trait", "secret of theirs", "theirs", now)]
    problems.replace(connection, theirs.id, {bob.id: found})
    secret = issuing.issue_secret(connection, theirs, "theirs", vault, "them", now)
    connection_of_theirs = SegmentConnection(
        id="conn_theirs",
        account_id=theirs.id,
        region=Region.US,
        workspace_id="workspace_theirs",
        workspace_name="Theirs",
        source_id="source_theirs",
        source_name="Theirs",
        destination_id="destination_theirs",
        kind=ConnectionKind.WEBHOOK,
        credential=secret.id,
        created_at=now,
    )
    segment_connections.add(connection, connection_of_theirs)
    recent_calls.append(connection, [arrival(BOB, account=theirs.id)], vault.pseudonym, 10)
    named = {
        "profile_id": str(bob.id),
        "call_id": str(recent_calls.newest_id(connection, theirs.id)),
        "key": issuing.issue_key(connection, theirs, "theirs", "them", now).id,
        "secret": secret.id,
        "connector": issuing.issue_connector(connection, theirs, "theirs", "them", now).id,
        "connection_id": "conn_theirs",
    }
    return mine, theirs, named


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    segment = httpx.MockTransport(lambda _: httpx.Response(401))
    async with running(settings(tmp_path, secret_key=SECRET), segment_transport=segment) as service:
        yield service


@pytest.fixture
async def world(tmp_path: Path, service: Service) -> AsyncIterator[World]:
    database = Database(f"sqlite:///{tmp_path / 'data' / 'destination.db'}")
    headers = {"Authorization": f"Bearer {await issued(tmp_path)}"}
    await service.identify("ann@example.com", plan="x")
    call = {"type": "identify", "userId": "bob", "traits": {"email": BOB, "plan": "secret of theirs"}}
    await service.client.post("/identify", json=call, auth=(THEIRS, ""))
    async with httpx.AsyncClient(transport=service.transport, base_url="http://service", headers=headers) as api:
        status = ""
        while status not in ("unmatched", "in_sync"):  # nothing is under way any more
            every = (await api.get("/api/accounts")).json()
            people = [(await api.get(f"/api/accounts/{each['id']}/profiles")).json() for each in every]
            [status] = {each["status"] for page in people for each in page["profiles"] if each["email"] == BOB}
        mine, theirs, named = await database.write(settle_theirs)
        yield World(api, database, mine, theirs, named)
    await database.close()


async def test_table_has_every_account_route(world: World) -> None:
    """The table of this test has every route of an account."""
    document = (await world.api.get("/openapi.json")).json()
    prefix = "/api/accounts/{account_id}"
    routes = {
        (method, path.removeprefix(prefix))
        for path, operations in document["paths"].items()
        if path.startswith(prefix)
        for method in operations
    }

    assert routes == set(BODIES)


async def test_routes_never_reach_another_account(world: World) -> None:
    """No route of one account shows or changes data of another."""
    before = await world.all_of_theirs()
    asked = [(method, path, body) for (method, path), body in BODIES.items()] + BESIDES
    asked.sort(key=lambda each: each[:2] == ("delete", ""))  # removing the account comes last
    for method, path, body in asked:
        answer = await world.ask(method, path, body)
        expected = {404} if "{profile_id}" in f"{path}{body}" or "{" in path else {200, 201, 202, 204, 409, 422}
        expected |= {404} if path == "/mapping/try" else set()  # it is tried on nobody of another account
        assert answer.status_code in expected, (method, path, answer.status_code, answer.text)
        told = answer.text
        for (
            name
        ) in world.named.values():  # an answer may quote what was asked for, where it says that it is not there
            told = told.replace(name, "") if answer.status_code == 404 else told
        for theirs in (BOB, world.theirs.id, world.theirs.fingerprint, "theirs", "Theirs"):
            assert theirs not in told, (method, path, answer.text)
        assert await world.all_of_theirs() == before, (method, path)


async def test_same_ids_work_in_their_account(world: World) -> None:
    """The same IDs work in the account that has them."""
    for path in ("/profiles/{profile_id}", "/calls/{call_id}", "/replay?profile_id={profile_id}"):
        answer = await world.api.get(f"/api/accounts/{world.theirs.id}" + path.format(**world.named))
        assert answer.status_code == 200
    for path in ("/keys/{key}", "/secrets/{secret}", "/connectors/{connector}", "/profiles/{profile_id}"):
        answer = await world.api.delete(f"/api/accounts/{world.theirs.id}" + path.format(**world.named))
        assert answer.is_success


@pytest.mark.parametrize("token", [None, "pso_wrong"])
async def test_routes_need_a_token(world: World, token: str | None) -> None:
    """Without a valid token no route answers or changes anything."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    before = await world.all_of_theirs()
    async with httpx.AsyncClient(
        transport=world.api._transport, base_url="http://service", headers=headers
    ) as client:
        for (method, path), body in BODIES.items():
            url = f"/api/accounts/{world.theirs.id}{path.format(**world.named)}"
            assert (await client.request(method.upper(), url, json=body)).status_code == 401, (method, path)
        assert (await client.post("/api/accounts", json={"key": "key_test_x"})).status_code == 401
    assert await world.all_of_theirs() == before
