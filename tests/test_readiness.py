"""``/readyz`` tells whether calls can be written, and calls are answered 503 in time where they cannot."""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import make_url

from support.postgres import execute
from support.service import Service, running, settings

pytestmark = pytest.mark.anyio

#: Within which a call is answered, whatever holds a lock, in seconds; and what a busy machine adds.
PROMISED, BUSY = 4.0, 1.5


@pytest.fixture
async def service(tmp_path: Path, database_url: str) -> AsyncIterator[Service]:
    async with running(settings(tmp_path, database_url=database_url)) as service:
        assert (await service.identify("ann@example.com", plan="gold")).status_code == 202
        yield service


async def _until_ready(service: Service, status: int) -> str:
    """Wait until it is, or is not, ready; what it says of the database."""
    async with asyncio.timeout(20):
        while True:
            answer = await service.client.get("/readyz")
            if answer.status_code == status:
                said: str = answer.json()["database"]
                return said
            await asyncio.sleep(0.1)


@asynccontextmanager
async def _locked(url: str) -> AsyncIterator[None]:
    """Keep everybody from writing profiles."""
    async with AsyncExitStack() as stack:
        if url.startswith("sqlite"):
            path = make_url(url).database
            assert path is not None
            other = stack.enter_context(closing(sqlite3.connect(path, isolation_level=None)))
            other.execute("BEGIN IMMEDIATE")
        else:
            plain = make_url(url).set(drivername="postgresql").render_as_string(False)
            connection = await asyncpg.connect(plain)
            stack.push_async_callback(connection.close)
            await stack.enter_async_context(connection.transaction())
            await connection.execute("LOCK TABLE profiles IN ACCESS EXCLUSIVE MODE")
        yield


async def test_a_lock_that_is_held(service: Service, database_url: str) -> None:
    """It is not ready; calls, whenever they come, are answered 503 within 4 s; then all goes on."""
    took: list[float] = []

    async def call(number: int) -> int:
        await asyncio.sleep(number * 0.5)
        begun = time.monotonic()
        answer = await service.identify(f"{number}@example.com", plan="gold")
        took.append(time.monotonic() - begun)
        return answer.status_code

    assert await _until_ready(service, 200) == "ok"
    async with _locked(database_url):
        not_ready = asyncio.create_task(_until_ready(service, 503))
        assert await asyncio.gather(*map(call, range(8))) == [503] * 8
        await not_ready
    assert max(took) < PROMISED + BUSY, took

    await _until_ready(service, 200)
    assert (await service.identify("ann@example.com", plan="silver")).status_code == 202


async def test_a_lock_without_calls(service: Service, database_url: str) -> None:
    """It is not ready also where nobody calls."""
    await _until_ready(service, 200)
    async with _locked(database_url):
        await _until_ready(service, 503)
    await _until_ready(service, 200)


async def test_whoever_asks_often_costs_few_writes(service: Service) -> None:
    """A hundred questions at once are answered by one write."""
    answers = await asyncio.gather(*(service.client.get("/readyz") for _ in range(100)))

    assert {each.status_code for each in answers} == {200}


async def test_a_read_only_postgresql(postgresql_url: str, tmp_path: Path) -> None:
    """A server that takes no writes, as one that was demoted, is not ready, and calls are answered 503."""
    name = make_url(postgresql_url).database
    others = "datname = current_database() AND pid <> pg_backend_pid()"
    cut = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}"  # noqa: S608 -- our own words
    async with running(settings(tmp_path, database_url=postgresql_url)) as service:
        assert (await service.identify("ann@example.com", plan="gold")).status_code == 202
        await execute(postgresql_url, f'ALTER DATABASE "{name}" SET default_transaction_read_only = on', cut)
        try:
            said = await _until_ready(service, 503)
            while "read-only" not in said:  # first of all the connections were cut
                said = await _until_ready(service, 503)
            assert (await service.identify("ann@example.com", plan="silver")).status_code == 503
        finally:
            writable = "SET default_transaction_read_only = off"
            await execute(
                postgresql_url, writable, f'ALTER DATABASE "{name}" RESET default_transaction_read_only', cut
            )
        await _until_ready(service, 200)


async def test_a_file_that_is_gone(tmp_path: Path) -> None:
    """Without its file it is not ready, calls are answered 503, and the log says why; with it all goes on."""
    async with running(settings(tmp_path)) as service:
        assert (await service.identify("ann@example.com", plan="gold")).status_code == 202
        path = tmp_path / "data" / "destination.db"
        path.rename(path.with_name("moved.db"))

        refused = await service.identify("ann@example.com", plan="silver")
        assert refused.status_code == 503
        assert "destination.db was deleted or moved" in refused.json()["message"]
        assert "destination.db was deleted or moved" in await _until_ready(service, 503)

        path.with_name("moved.db").rename(path)
        await _until_ready(service, 200)
        assert (await service.identify("ann@example.com", plan="silver")).status_code == 202
