"""PostgreSQL hangs: its processes are stopped, its connections stay open, and nothing answers."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from prosperstack_destination.auth.api_keys import key_hash
from prosperstack_destination.store import accounts
from prosperstack_destination.store.database import Database
from support.connectors import issue_token
from support.postgres import QUICK, Server
from support.service import KEY, Service, running, settings

pytestmark = pytest.mark.anyio

#: The promise of docs/explanation/promises.md for a cancel flow, in seconds; and what a busy machine adds at times.
PROMISED = 0.3
AT_WORST = 1.5
#: The promise for calls, in seconds, and as much again for a busy machine; a transaction may take 60 s.
LATEST = 8.0


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = Server.create(**QUICK)
    yield server
    server.remove()


@pytest.fixture
async def service(server: Server, tmp_path: Path) -> AsyncIterator[Service]:
    async with running(settings(tmp_path, database_url=server.url)) as service:
        assert (await service.identify("ann@example.com", plan="gold")).status_code == 202
        yield service


async def _token(server: Server) -> str:
    database = Database(server.url)
    account = await database.read(accounts.find_by_key_hash, key_hash(KEY))
    assert account is not None
    token = await database.write(issue_token, account.id)
    await database.close()
    return token


async def test_a_cancel_flow_is_not_held_up(server: Server, service: Service) -> None:
    """While nothing answers, every cancel flow is answered within 0.3 s; afterwards with the properties again."""
    token = await _token(server)
    body = {"event": "flow_session_started", "data": {"subscriber": {"email": "ann@example.com"}}}
    took: dict[str, list[float]] = {}

    async def ask(path: str) -> httpx.Response:
        begun = time.monotonic()
        answer = await service.client.post(path, json=body)
        took.setdefault(path, []).append(time.monotonic() - begun)
        return answer

    known = await ask(f"/data-connector/{token}")
    assert known.status_code == 200
    await ask("/data-connector/unknown")
    took.clear()
    with server.frozen():
        for _ in range(5):
            answers = await asyncio.gather(*(ask(f"/data-connector/{token}") for _ in range(5)))
            assert [each.status_code for each in answers] == [200] * 5
            assert (await ask(f"/flow-webhook/{token}")).status_code == 200
            assert (await ask("/data-connector/unknown")).status_code == 401
            await asyncio.sleep(0.6)  # past the time for which the tokens count without a look
    for path, times in took.items():
        assert min(times) < PROMISED, (path, times)
        assert max(times) < AT_WORST, (path, times)

    async with asyncio.timeout(20):
        answer = await ask(f"/data-connector/{token}")
        while answer.json() != known.json():
            answer = await ask(f"/data-connector/{token}")


async def test_a_token_that_was_never_read_is_not_waited_for(server: Server, service: Service) -> None:
    """Where the service has read no tokens yet it cannot know a good one: it answers 503, as soon."""
    with server.frozen():
        begun = time.monotonic()
        answer = await service.client.post("/data-connector/unknown", json={})
        took = time.monotonic() - begun

    assert answer.status_code == 503
    assert took < AT_WORST


async def test_calls_are_answered_within_four_seconds(server: Server, service: Service) -> None:
    """While nothing answers, each call, array and new key is answered 503 with Retry-After; later calls succeed."""
    array = [{"type": "identify", "traits": {"email": f"{number}@example.com"}} for number in range(100)]
    took: dict[str, float] = {}

    async def post(name: str, path: str, body: object, key: str = KEY) -> httpx.Response:
        begun = time.monotonic()
        answer = await service.client.post(path, json=body, auth=(key, ""))
        took[name] = time.monotonic() - begun
        return answer

    one = {"traits": {"email": "ann@example.com", "plan": "silver"}}
    with server.frozen():
        for _ in range(2):
            answers = await asyncio.gather(
                post("call", "/identify", one),
                post("array", "/identify", array),
                post("explained", "/identify?explain=true", one),
                post("tracking", "/v1/identify", one),
                post("batch", "/v1/batch", {"batch": array}),
                post("unknown key", "/identify", one, key="unknown"),
                post("public key", "/v1/i", one, key="psp_unknown"),
            )
            assert {answer.status_code for answer in answers} == {503}, [each.text for each in answers]
            assert all(int(answer.headers["retry-after"]) >= 1 for answer in answers)
            assert max(took.values()) < LATEST, took

    async with asyncio.timeout(30):
        while (await service.identify("ann@example.com", plan="bronze")).status_code != 202:
            pass
