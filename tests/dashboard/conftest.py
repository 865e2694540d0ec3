"""Fixtures of the dashboard of a running service, without a browser."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from prosperstack_destination.store.database import Database
from support.service import Service, running, settings

PASSWORD = "correct horse battery"


@dataclass(frozen=True)
class Watched:
    """What is sent to somebody who looks at a page."""

    sent: asyncio.Queue[dict[str, str]]

    async def parts(self, count: int) -> dict[str, str]:
        """The next so many parts, by their ids."""
        async with asyncio.timeout(10):
            news = [await self.sent.get() for _ in range(count)]
        return {each["id"]: each["html"] for each in news}


@dataclass(frozen=True)
class Dashboard:
    """Somebody who is logged in, and the service."""

    client: httpx.AsyncClient
    service: Service
    account_id: str

    @property
    def home(self) -> str:
        """Where the account's pages are."""
        return f"/dashboard/a/{self.account_id}"

    async def get(self, page: str) -> httpx.Response:
        """A page of the account."""
        return await self.client.get(f"{self.home}/{page}")

    async def post(self, page: str, **fields: str) -> httpx.Response:
        """Send a form, as a page of the account has it."""
        return await self.client.post(f"{self.home}/{page}", data={"csrf": await self.csrf(), **fields})

    async def until(self, page: str, said: str, *, gone: bool = False) -> str:
        """A page of the account, once something is said there, or no longer."""
        async with asyncio.timeout(10):
            while (said in (text := (await self.get(page)).text)) == gone:
                pass
        return text

    @asynccontextmanager
    async def watched(self, page: str) -> AsyncIterator["Watched"]:
        """The parts that a page of the account is sent while somebody looks: they leave at the end of the block."""
        application = cast(httpx.ASGITransport, self.service.transport).app
        cookies = "; ".join(f"{name}={value}" for name, value in self.client.cookies.items())
        path, _, query = f"{self.home}/{page}".partition("?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [(b"cookie", cookies.encode()), (b"accept", b"text/event-stream")],
        }
        leaves = asyncio.Event()
        watched = Watched(asyncio.Queue())

        async def receive() -> dict[str, str]:
            await leaves.wait()
            return {"type": "http.disconnect"}

        async def send(message: MutableMapping[str, Any]) -> None:
            for line in message.get("body", b"").decode().splitlines():
                if line.startswith("data: "):
                    watched.sent.put_nowait(json.loads(line.removeprefix("data: ")))

        async def look() -> None:
            await application(scope, receive, send)

        looking = asyncio.create_task(look())
        try:
            yield watched
        finally:
            leaves.set()
            await looking

    async def live(self, page: str, *names: str) -> dict[str, str]:
        """The parts of a page that it is sent first, by their ids: when these are there, nobody looks any more."""
        parts: dict[str, str] = {}
        async with self.watched(page) as watched:
            while not set(names) <= parts.keys():
                parts |= await watched.parts(1)
        return parts | await watched.parts(watched.sent.qsize())

    async def csrf(self) -> str:
        """What forms carry."""
        found = re.search(r'name="csrf" value="(\w+)"', (await self.client.get("/dashboard/accounts")).text)
        assert found is not None
        return found[1]


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    async with running(settings(tmp_path, admin_password=PASSWORD)) as service:
        yield service


@pytest.fixture
async def stored(tmp_path: Path) -> AsyncIterator[Database]:
    """The database of the service, for tests that have to know, or to say, what is in it."""
    database = Database(f"sqlite:///{tmp_path / 'data' / 'destination.db'}")
    await database.open()
    yield database
    await database.close()


@pytest.fixture
async def stranger(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody who is not logged in."""
    async with httpx.AsyncClient(transport=service.transport, base_url="http://service") as client:
        yield client


@pytest.fixture
async def dashboard(service: Service, stranger: httpx.AsyncClient) -> Dashboard:
    """One account with one call, and somebody who is logged in."""
    await service.identify("john.doe@example.com", preferred_name="Johnny")
    answer = await stranger.post("/dashboard/login", data={"password": PASSWORD})
    assert answer.status_code == 303
    start = await stranger.get("/dashboard")
    return Dashboard(stranger, service, start.headers["location"].split("/")[3])
