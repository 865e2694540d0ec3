"""The dashboard of a running service, without a browser."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.service import Service, running, settings

PASSWORD = "correct horse battery"


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

    async def live(self, page: str, *names: str) -> dict[str, str]:
        """The parts of a page that it is sent first, by their ids: when these are there, nobody looks any more."""
        path, _, query = f"{self.home}/{page}".partition("?")
        cookies = "; ".join(f"{name}={content}" for name, content in self.client.cookies.items())
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": path,
            "query_string": query.encode(),
            "headers": [(b"cookie", cookies.encode())],
            "server": ("service", 80),
            "client": ("127.0.0.1", 1),
        }
        parts: dict[str, str] = {}
        enough = asyncio.Event()

        async def receive() -> dict[str, Any]:
            await enough.wait()
            return {"type": "http.disconnect"}

        async def send(message: MutableMapping[str, Any]) -> None:
            for data in re.findall(r"^data: (.*)$", message.get("body", b"").decode(), re.MULTILINE):
                part = json.loads(data)
                parts[part["id"]] = part["html"]
            if set(names) <= parts.keys():
                enough.set()

        assert isinstance(self.service.transport, httpx.ASGITransport)
        async with asyncio.timeout(10):
            await self.service.transport.app(scope, receive, send)
        return parts

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
