"""A deletion leaves nothing of the person, in any table and any file."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, select

from prosperstack_destination.settings import Settings
from prosperstack_destination.store.database import Database
from prosperstack_destination.store.tables import metadata
from support.service import Service, running, settings

pytestmark = pytest.mark.anyio

OLD = "2020-01-01T00:00:00Z"
PERSON = {"email": "Mary.Major@example.com", "userId": "user-4711", "anonymousId": "anon-0815"}
OTHER_IDS = ["anon-2222", "user-9999"]
#: Traces of the person: their email, their ids, and what their traits said.
TRACES = ["mary.major", PERSON["userId"], PERSON["anonymousId"], *OTHER_IDS, "zanzibar", "obsidian"]
ENGAGE = {"personas": {"computation_class": "trait", "computation_key": "favourite"}}


def rows(connection: Connection) -> str:
    """A unit of work: every row of every table, as text in lower case."""
    found = [str(tuple(row)) for table in metadata.sorted_tables for row in connection.execute(select(table))]
    return "\n".join(found).lower()


async def stored(configured: Settings) -> str:
    """The text of every table and, on SQLite, of every file in the data folder, in lower case."""
    database = Database(configured.effective_database_url)
    found = await database.read(rows)
    await database.close()
    return found + files(configured)


def files(configured: Settings) -> str:
    """The bytes of every file in the data folder, read as text, in lower case."""
    paths = sorted(configured.data_dir.iterdir()) if configured.data_dir.exists() else []
    return b"".join(path.read_bytes() for path in paths).decode("latin-1").lower()


async def has_no_trace(configured: Settings) -> None:
    """Wait, a few seconds at most, until no trace is found; it fails by naming those that are."""
    found: list[str] = []
    for _ in range(50):
        text = await stored(configured)
        found = [trace for trace in TRACES if trace in text]
        if not found:
            return
        await asyncio.sleep(0.1)
    raise AssertionError(found)


async def send(service: Service, **call: Any) -> int:
    return (await service.client.post("/identify", json=call)).status_code


async def fill(service: Service) -> None:
    """Send calls of many kinds about the person, and of others before and after them."""
    ids = {"userId": PERSON["userId"], "anonymousId": PERSON["anonymousId"]}
    long = {f"trait {n}": f"Obsidian {n}" * 20 for n in range(40)}
    traits = {"email": PERSON["email"], "odd": "Zanzibar", "is_professional": "Zanzibar", **long}
    for n in range(8):
        await service.identify(f"a{n}@example.com", preferred_name="Stays", **long_of(n))
        await service.identify(f"z{n}@example.com", preferred_name="Stays", **long_of(n))
    held = {"anonymousId": OTHER_IDS[0], "traits": {"favourite": "Zanzibar"}, "context": ENGAGE}
    assert await send(service, **held) == 202
    assert await send(service, **ids, traits=traits) == 202
    assert await send(service, anonymousId=OTHER_IDS[0], traits={"email": PERSON["email"]}) == 202
    assert await send(service, userId=OTHER_IDS[1], traits={"email": PERSON["email"], "odd": "Obsidian"}) == 202
    assert await send(service, userId=PERSON["userId"], traits={"odd": "Zanzibar"}) == 202
    assert await send(service, anonymousId=PERSON["anonymousId"], traits={"odd": "Zanzibar"}) == 202
    assert await send(service, type="track", **ids) == 501
    assert await send(service, userId="another", traits={"friend": PERSON["email"]}) == 400
    broken = json.dumps({**ids, "traits": traits})[:-1]
    assert (await service.client.post("/identify", content=broken)).status_code == 400
    batch = {"batch": [{"type": "identify", **ids, "traits": traits, "integrations": {"All": False}}]}
    assert (await service.client.post("/v1/batch", json=batch)).status_code == 200


def long_of(number: int) -> dict[str, str]:
    return {f"trait {n}": f"of number {number}" * 10 for n in range(20)}


async def come_late(service: Service) -> None:
    """Send calls from before the deletion, as Segment does when it tries again."""
    for each in ({"userId": PERSON["userId"]}, {"anonymousId": PERSON["anonymousId"]}, {"userId": OTHER_IDS[1]}):
        assert await send(service, **each, timestamp=OLD, traits={"odd": "Zanzibar"}) in (200, 400)
    late = {"anonymousId": OTHER_IDS[0], "timestamp": OLD, "traits": {"favourite": "Zanzibar"}}
    assert await send(service, **late, context=ENGAGE) == 200
    assert await send(service, timestamp=OLD, traits={"email": PERSON["email"], "odd": "Zanzibar"}) == 200
    both = {"userId": "another", "anonymousId": PERSON["anonymousId"]}
    assert await send(service, **both, timestamp=OLD, traits={"odd": "Zanzibar"}) == 400


async def test_a_deletion_leaves_nothing(tmp_path: Path, database_url: str) -> None:
    """After a Delete call, while the service runs, no table and no file has the person's email, ids or traits."""
    configured = settings(tmp_path, database_url=database_url, data_dir=tmp_path)  # where SQLite's file is
    async with running(configured) as service:
        await fill(service)
        await asyncio.sleep(1.1)  # calls are written once a second
        before = await stored(configured)
        assert [trace for trace in TRACES if trace not in before] == []

        assert await send(service, type="delete", userId=PERSON["userId"]) == 202
        await come_late(service)
        await asyncio.sleep(1.1)

        await has_no_trace(configured)
        text = await stored(configured)
    assert "stays" in text
