"""The service and a sandbox in this process, as they are in production but for the network between them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI
from pydantic import JsonValue

from prosperstack_destination.app import create_app
from prosperstack_destination.clock import Clock, system_clock
from prosperstack_destination.sandbox import SandboxConfig, create_sandbox
from prosperstack_destination.sandbox.account import SandboxAccount
from prosperstack_destination.settings import Settings
from prosperstack_destination.store.database import backend_of
from support.sqlite import place

KEY = "key_test_sandbox"
#: The sandbox's count of updates that it accepted.
UPDATED = "PATCH /v1/subscribers/{subscriber_id} 200"


@dataclass(slots=True)
class Service:
    """A running service."""

    #: Speaks to it, with the key.
    client: httpx.AsyncClient
    #: Speaks to the sandbox behind it, with the key.
    sandbox: httpx.AsyncClient
    sandbox_app: FastAPI
    #: Carries requests to it, for other clients.
    transport: httpx.AsyncBaseTransport

    async def identify(self, email: str, *, key: str = KEY, query: str = "", **traits: JsonValue) -> httpx.Response:
        """Send an Identify call with traits."""
        call = {"type": "identify", "traits": {"email": email, **traits}}
        return await self.client.post(f"/identify{query}", json=call, auth=(key, ""))

    def account(self, key: str = KEY) -> SandboxAccount:
        """What the sandbox keeps for a key."""
        account: SandboxAccount = self.sandbox_app.state.accounts[key]
        return account

    def values(self, email: str, key: str = KEY) -> list[dict[str, Any]]:
        """The properties of the subscribers with an email, without spending a request."""
        found = self.account(key).data.subscribers.after(0, email)
        return [{name: value for name, (_, value) in each.values.items()} for each in found]

    def share_email(self) -> str:
        """Make another subscriber with the email of the last one; that email."""
        subscribers = self.account().data.subscribers
        *_, last = subscribers.after(0)
        fields = {**last.fields, "id": "subr_another"}
        subscribers.add(replace(last, number=last.number + 1, fields=fields, values={}))
        return last.fields["email"]

    async def asked(self, updates: int = 0) -> dict[str, int]:
        """How often the sandbox was asked what, by operation and status, once it has counted so many updates.

        It counts a request when it has answered it: a moment after its effect can be seen.
        """
        async with asyncio.timeout(10):
            while True:
                counts: dict[str, int] = (await self.sandbox.get("http://sandbox/requests")).json()["by_operation"]
                if counts.get(UPDATED, 0) >= updates:
                    return counts

    async def until(self, condition: Callable[[], bool], seconds: float = 10.0) -> None:
        """Wait for what the reconciler does in its own time."""
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110 -- the condition is the sandbox's, which tells nobody
                await asyncio.sleep(0.005)


def settings(tmp_path: Path, **changed: Any) -> Settings:
    """Settings that take nothing from the environment of the tests."""
    given: dict[str, Any] = {
        "data_dir": tmp_path / "data",
        "prosperstack_base_url": "http://sandbox/v1",
        "secret_key": "a secret that is long enough",
        **changed,
    }
    return Settings(_env_file=None, **given)


def _nobody(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("nobody is there", request=request)


@asynccontextmanager
async def running(
    configured: Settings,
    sandbox_app: FastAPI | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
    clock: Clock = system_clock,
    segment_transport: httpx.AsyncBaseTransport | None = None,
) -> AsyncIterator[Service]:
    """Run the service until the end of the block; ``transport`` carries its requests instead of the sandbox.

    Its SQLite database is migrated already. Without a ``segment_transport`` nobody answers at Segment's Public API.
    """
    if backend_of(configured.effective_database_url) == "sqlite":
        place(configured.effective_database_url)
    if sandbox_app is None:
        sandbox_app = create_sandbox(SandboxConfig(subscribers=20, keys=(KEY, "key_test_other"), rate_limit=10_000))
    to_sandbox = httpx.ASGITransport(sandbox_app)
    app = create_app(
        configured,
        transport=transport or to_sandbox,
        segment_transport=segment_transport or httpx.MockTransport(_nobody),
        clock=clock,
    )
    to_service = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=to_service,
            base_url="http://service",
            auth=(KEY, ""),
        ) as client,
        httpx.AsyncClient(transport=to_sandbox, base_url="http://sandbox/v1", auth=(KEY, "")) as sandbox,
    ):
        yield Service(client, sandbox, sandbox_app, to_service)
