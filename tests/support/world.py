"""An account's worker between a database and a sandbox, in time that the tests own."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
from pydantic import JsonValue

from prosperstack_destination.clock import SECOND
from prosperstack_destination.prosperstack.client import ProsperStackClient
from prosperstack_destination.reconcile.account_worker import AccountWorker
from prosperstack_destination.reconcile.rate_limiter import RateLimiter
from prosperstack_destination.reconcile.remap import Remapper
from prosperstack_destination.sandbox import SandboxConfig, create_sandbox
from prosperstack_destination.store import accounts, problems, profiles
from prosperstack_destination.store.database import Database
from prosperstack_destination.store.models import Profile
from support.accounts import open_account
from support.clocks import LoopClock
from support.intake import identify, take

KEY = "key_test_sandbox"
JOHN = "john.doe@example.com"

Handler = Callable[[httpx.Request], httpx.Response | None]
Network = Callable[[httpx.Request], Awaitable[httpx.Response]]


@dataclass
class World:
    """A database, a sandbox, and what stands between them. It is for a loop whose time is virtual."""

    database: Database
    clock: LoopClock
    sandbox: Any
    #: May answer instead of the sandbox.
    intercept: Handler = field(default=lambda _: None)
    #: Carries a request to the sandbox, as `arrive` does, and the answer back; None: nothing happens on the way.
    network: Network | None = None
    requests: list[str] = field(default_factory=list)
    #: The worker, while it runs.
    running: asyncio.Task[None] | None = None

    @classmethod
    async def begin(cls, database: Database, subscribers: int = 5) -> "World":
        """An open account, and as many subscribers."""
        clock = LoopClock()
        await database.write(open_account)
        sandbox = create_sandbox(SandboxConfig(subscribers=subscribers), clock=lambda: clock() / SECOND)
        return cls(database, clock, sandbox)

    async def arrive(self, request: httpx.Request) -> httpx.Response:
        """What the sandbox answers."""
        return await httpx.ASGITransport(self.sandbox).handle_async_request(request)

    async def handle(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(f"{request.method} {request.url.path.split('/')[2]}")
        answer = self.intercept(request)
        if answer is not None:
            return answer
        return await (self.network or self.arrive)(request)

    async def reconcile(self) -> list[str]:
        """Run the worker until nothing is due; the requests that it sent."""
        self.requests.clear()
        account = await self.database.read(accounts.get, "acct_1")
        assert account is not None
        async with httpx.AsyncClient(transport=httpx.MockTransport(self.handle)) as http:
            rate_limiter = RateLimiter(0.1, self.clock.ticks)
            client = ProsperStackClient(http, "http://sandbox/v1", KEY, rate_limiter.on_answer)
            worker = AccountWorker(
                account, self.database, client, rate_limiter, clock=self.clock, ticks=self.clock.ticks
            )
            self.running = asyncio.create_task(worker.run())
            await self.running
        return list(self.requests)

    async def list_everybody(self) -> None:
        """Have the directory complete: so many are not known that listing them is cheaper than looking them up."""
        for number in range(11):
            await self.call(f"stranger{number}@example.com", preferred_name="x")
        await self.reconcile()

    async def reproject(self) -> None:
        """Have the profiles gone through whose traits mean something else now."""
        clock = self.clock
        await Remapper(self.database, lambda _: None, clock=clock, ticks=clock.ticks).run_once()

    async def call(self, email: str = JOHN, **traits: JsonValue) -> None:
        now = self.clock()
        await self.database.write(take, replace(identify(email, at=now, received_at=now), traits=traits))
        self.clock.advance(1)

    async def profile(self, email: str = JOHN) -> Profile:
        profile = await self.database.read(profiles.find, "acct_1", email)
        assert profile is not None
        return profile

    async def problems(self, email: str = JOHN) -> list[tuple[str, str]]:
        found = await self.database.read(problems.of_profile, (await self.profile(email)).id)
        return [(each.property, each.reason) for each in found]

    @property
    def data(self) -> Any:
        return self.sandbox.state.accounts[KEY].data

    def values(self, email: str = JOHN) -> dict[str, Any]:
        [record] = self.data.subscribers.after(0, email)
        return {name: value for name, (_, value) in record.values.items()}
