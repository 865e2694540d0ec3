"""Calls that came in are kept for people to look at, whichever way they came and whatever became of them."""

import gzip
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Connection

from prosperstack_destination.auth.api_keys import key_hash
from prosperstack_destination.observability.telemetry import (
    ACCEPTED_PER_SECOND,
    BURST_SECONDS,
    IGNORED_PER_SECOND,
    REFUSED_PER_SECOND,
)
from prosperstack_destination.settings import Settings
from prosperstack_destination.store import accounts, recent_calls
from prosperstack_destination.store.database import Database
from prosperstack_destination.store.recent_calls import CallOutcome, CallQuery, Channel, RecentCall
from support.service import KEY, running, settings

pytestmark = pytest.mark.anyio

JOHN = "john.doe@example.com"
OTHER = "key_test_other"
ENGAGE = {"personas": {"computation_class": "audience", "computation_key": "power_users"}}


async def kept(configured: Settings, key: str = KEY) -> list[RecentCall]:
    """The calls that are kept of the account of a key, the oldest first, once the service has stopped."""

    def work(connection: Connection) -> list[RecentCall]:
        account = accounts.find_by_key_hash(connection, key_hash(key))
        if account is None:
            return []
        return recent_calls.page(connection, account.id, CallQuery(), since=0, limit=10_000)[::-1]

    database = Database(configured.effective_database_url)
    found = await database.read(work)
    await database.close()
    return found


def said(calls: list[RecentCall]) -> list[tuple[str, str, str, str]]:
    return [(each.channel.value, each.type, each.outcome.value, each.message) for each in calls]


async def test_every_way_and_fate(tmp_path: Path, database_url: str) -> None:
    """Calls are kept with their text, how they came and what became of them; each event of a batch by itself."""
    configured = settings(tmp_path, database_url=database_url)
    good = {"type": "identify", "userId": "u1", "traits": {"email": JOHN, "preferred_name": "J"}}
    skipped = {**good, "integrations": {"ProsperStack": False}}
    held = {"userId": "u2", "traits": {"power_users": True}, "context": ENGAGE}
    async with running(configured) as service:
        for body in (good, skipped, held, {"type": "track", "userId": "u1"}, {"userId": "nobody"}):
            await service.client.post("/identify", json=body)
        await service.client.post("/identify", content=b'{"traits": {')
        await service.client.post("/identify?dry_run=1", json=good)
        await service.client.post("/identify?explain=1", json=good)
        await service.client.post("/identify", content=b"[ " + json.dumps(good).encode() + b',\n{"traits":{}}]')
        await service.client.post("/identify", content=b"[{},")
        await service.client.post("/v1/track", json={"event": "Something", "userId": "u1"})
        batch = {"batch": [good, {"type": "page"}, 5], "writeKey": KEY, "context": {"ip": "8.8.8.8"}}
        zipped = {"Content-Encoding": "gzip"}
        await service.client.post("/v1/batch", content=gzip.compress(json.dumps(batch).encode()), headers=zipped)
        await service.client.post("/v1/batch", json={"batch": 5, "writeKey": KEY}, auth=httpx.Auth())
    calls = await kept(configured)

    assert [each[:3] for each in said(calls)] == [
        ("identify", "identify", "accepted"),
        ("identify", "identify", "skipped"),
        ("identify", "identify", "held"),
        ("identify", "track", "refused"),
        ("identify", "identify", "refused"),
        ("identify", "other", "refused"),
        ("identify", "identify", "explained"),
        ("identify", "identify", "accepted"),
        ("identify", "identify", "accepted"),
        ("identify", "identify", "refused"),
        ("identify", "other", "refused"),
        ("tracking", "track", "ignored"),
        ("tracking", "identify", "accepted"),
        ("tracking", "page", "ignored"),
        ("tracking", "other", "refused"),
        ("tracking", "identify", "refused"),
    ]
    assert json.loads(calls[0].body) == good
    assert calls[2].source == "audience:power_users"
    assert "Missing email address" in calls[4].message
    assert calls[5].body == '{"traits": {'
    assert (calls[8].body, calls[9].body) == (json.dumps(good), '{"traits":{}}')
    assert json.loads(calls[12].body) == {**good, "context": {"ip": "8.8.8.8"}}
    assert not any(KEY in each.body for each in calls)


async def test_whose_key_opens_nothing(tmp_path: Path) -> None:
    """Nothing is kept of calls whose key or signature is wrong: whoever sends them is not one of the account's."""
    configured = settings(tmp_path)
    async with running(configured) as service:
        await service.identify(JOHN)
    [first] = await kept(configured)
    async with running(configured) as service:
        await service.client.post("/identify", json={"userId": "x"}, auth=("nonsense", ""))
        await service.client.post("/v1/identify", content=b"{", auth=("nonsense", ""))
        url = f"/webhook/{first.account_id}"
        await service.client.post(url, json={}, headers={"X-Signature": "00"}, auth=httpx.Auth())

    assert [each.outcome for each in await kept(configured)] == [CallOutcome.ACCEPTED]


async def test_the_url_of_an_account(tmp_path: Path) -> None:
    """What comes to an account's own URL is told apart, also where it is too large to be read."""
    configured = settings(tmp_path)
    async with running(configured) as service:
        await service.identify(JOHN)
    [first] = await kept(configured)
    async with running(configured) as service:
        await service.client.post(f"/webhook/{first.account_id}", json={"traits": {"email": JOHN}})
        await service.client.post(f"/webhook/{first.account_id}", content=b"{" + b"x" * 70_000)
    calls = await kept(configured)

    assert [(each.channel, each.outcome) for each in calls[1:]] == [
        (Channel.WEBHOOK, CallOutcome.ACCEPTED),
        (Channel.WEBHOOK, CallOutcome.REFUSED),
    ]
    assert calls[2].body == ""


async def test_nothing_is_kept_where_that_is_wanted(tmp_path: Path) -> None:
    """With RECENT_CALLS=0 no call is kept; with 3 the newest three are."""
    configured = settings(tmp_path, recent_calls=0)
    async with running(configured) as service:
        await service.identify(JOHN)
    nothing = await kept(configured)
    async with running(settings(tmp_path, recent_calls=3)) as service:
        for number in range(5):
            await service.identify(JOHN, number_of_contacts=number)
    calls = await kept(configured)

    assert nothing == []
    assert [json.loads(each.body)["traits"]["number_of_contacts"] for each in calls] == [2, 3, 4]


async def test_a_flood(tmp_path: Path) -> None:
    """Of a flood as many are kept as people can look at, also of what is refused, and none is another's loss."""
    configured = settings(tmp_path, recent_calls=10_000)
    good = [{"traits": {"email": f"{n}@example.com"}} for n in range(2_000)]
    bad: list[dict[str, Any]] = [{"type": "track"}, {"integrations": {"ProsperStack": False}}]
    async with running(configured) as service:
        for _ in range(2):
            await service.client.post("/identify", json=good + bad * 1_000)
        await service.identify(JOHN, key=OTHER)
        await service.client.post("/identify", json=bad[0], auth=(OTHER, ""))
    seen = Counter(each.outcome for each in await kept(configured))
    others = await kept(configured, OTHER)

    # Half of what may be taken at once, and what came with the seconds that this took.
    for fate, per_second in (
        (CallOutcome.ACCEPTED, ACCEPTED_PER_SECOND),
        (CallOutcome.SKIPPED, IGNORED_PER_SECOND),
        (CallOutcome.REFUSED, REFUSED_PER_SECOND),
    ):
        assert per_second * BURST_SECONDS / 2 <= seen[fate] <= per_second * BURST_SECONDS
    assert [each.outcome for each in others] == [CallOutcome.ACCEPTED, CallOutcome.REFUSED]


def everything(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir())


@contextmanager
def grepped(folder: Path, *traces: str) -> Iterator[None]:
    """What is there before the block, and not after it, in the files of a folder."""
    before = everything(folder)
    assert all(trace.encode() in before for trace in traces)
    yield
    after = everything(folder)
    assert not any(trace.encode() in after for trace in traces)


async def test_who_is_erased_leaves_nothing(tmp_path: Path) -> None:
    """After a deletion nothing of the person is in the database's file, neither of their calls nor elsewhere."""
    configured = settings(tmp_path)
    pad = {f"trait {n}": f"Obsidian {n}" * 20 for n in range(40)}
    good = {"userId": "user-4711", "traits": {"email": "mary.major@example.com", "odd": "Zanzibar", **pad}}
    async with running(configured) as service:
        await service.client.post("/identify", json=good)
        await service.client.post("/identify", json={"userId": "user-4711", "traits": {"odd": "Zanzibar"}})
        await service.client.post("/identify", json={**good, "type": "track"})
        await service.client.post("/identify", content=json.dumps(good)[:-1].encode())
        await service.client.post("/v1/batch", json={"batch": [{**good, "integrations": {"All": False}}]})
        await service.identify(JOHN, preferred_name="Stays")
    assert len(await kept(configured)) == 6

    with grepped(tmp_path / "data", "mary.major", "user-4711", "Zanzibar", "Obsidian"):
        async with running(configured) as service:
            await service.client.post("/identify", json={"type": "delete", "userId": "user-4711"})
            await service.client.post("/identify", json={**good, "timestamp": "2020-01-01T00:00:00Z"})
    calls = await kept(configured)

    assert [(each.type, each.outcome, each.body) for each in calls[1:]] == [
        ("delete", CallOutcome.ERASED, ""),
        ("identify", CallOutcome.OUTDATED, ""),
    ]
    assert "Stays" in calls[0].body
