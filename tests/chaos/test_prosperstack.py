"""Tests of random ProsperStack failures for a simulated day."""

import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import pytest

from prosperstack_destination.clock import HOUR, SECOND
from prosperstack_destination.errors import ProsperStackError
from prosperstack_destination.prosperstack.client import ProsperStackClient
from prosperstack_destination.reconcile.account_worker import AccountWorker
from prosperstack_destination.reconcile.rate_limiter import RateLimiter
from prosperstack_destination.sandbox import SandboxConfig, create_sandbox
from prosperstack_destination.store import accounts, profiles
from prosperstack_destination.store.database import Database
from prosperstack_destination.store.models import Status
from support.accounts import open_account
from support.clocks import VIRTUAL_TIME, LoopClock
from support.cluster import how_often
from support.intake import ACCOUNT, identify, stored, take

pytestmark = pytest.mark.anyio

KEY = "key_test_sandbox"
#: Simulated time of failures, in hours.
HOURS = how_often(short=3, full=24)


def raising(error: type[httpx.TransportError]) -> Callable[[], httpx.Response]:
    def fail() -> httpx.Response:
        raise error("")

    return fail


#: Faults that replace a response, also after the request was applied.
FAULTS: list[Callable[[], httpx.Response]] = [
    raising(httpx.ConnectError),
    raising(httpx.ReadError),
    raising(httpx.ReadTimeout),
    raising(httpx.RemoteProtocolError),
    lambda: httpx.Response(500, json={"error": "oh"}),
    lambda: httpx.Response(502, text="<html>"),
    lambda: httpx.Response(503, headers={"Retry-After": "30"}),
    lambda: httpx.Response(200, text="not JSON"),
    lambda: httpx.Response(200, json={"data": 5}),
    lambda: httpx.Response(429, headers={"Retry-After": "7"}),
    lambda: httpx.Response(429),
    lambda: httpx.Response(401, json={"error": "no"}),
    lambda: httpx.Response(404, json={"error": "gone"}),
]


@dataclass
class FaultyTransport:
    """Transport between the worker and the sandbox that injects faults."""

    sandbox: Any
    dice: random.Random
    #: Share of requests that fail.
    fault_rate: float = 0.0
    seen: set[int] = field(default_factory=set)

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        happens = self.dice.random() < self.fault_rate
        if not happens or self.dice.random() < 0.5:  # applied, and the response may be lost
            answer = await httpx.ASGITransport(self.sandbox).handle_async_request(request)
        if not happens:
            return answer
        fault = self.dice.randrange(len(FAULTS))
        self.seen.add(fault)
        return FAULTS[fault]()


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return VIRTUAL_TIME


async def test_latest_values_are_delivered_after_faults(sqlite: Database, dice: random.Random) -> None:
    """After a day of any faults, every subscriber gets the latest values of Segment."""
    clock = LoopClock()
    await sqlite.write(open_account)
    sandbox = create_sandbox(SandboxConfig(subscribers=8, rate_limit=100), clock=lambda: clock() / SECOND)
    transport = FaultyTransport(sandbox, dice)
    people = [each.fields["email"] for each in sandbox.state.accounts[KEY].data.subscribers.after(0)]
    rate_limiter = RateLimiter(0.1, clock.ticks)
    sent_at: dict[str, int] = {}
    end = clock() + HOURS * HOUR

    async with httpx.AsyncClient(transport=httpx.MockTransport(transport)) as http:

        async def reconcile() -> None:
            account = await sqlite.read(accounts.get, ACCOUNT)
            assert account is not None
            client = ProsperStackClient(http, "http://sandbox/v1", KEY, rate_limiter.on_answer)
            await AccountWorker(account, sqlite, client, rate_limiter, clock=clock, ticks=clock.ticks).run()

        while clock() < end:
            transport.fault_rate = dice.choice([0.0, 0.2, 0.5, 0.9])
            for email in dice.sample(people, 3):
                sent_at[email] = clock()
                call = identify(email, at=clock(), received_at=clock())
                await sqlite.write(take, replace(call, traits={"number_of_contacts": clock() // SECOND}))
            with suppress(ProsperStackError):
                await reconcile()
            clock.advance(dice.uniform(10, 900))
        transport.fault_rate = 0.0
        clock.advance(2 * 86_400)  # longer than any backoff
        await reconcile()

    for email, at in sent_at.items():
        shown = list(sandbox.state.accounts[KEY].data.subscribers.after(0, email))
        assert [each.values["number_of_contacts"][1] for each in shown] == [at // SECOND] * len(shown)
        assert (await sqlite.read(stored, email)).status is Status.IN_SYNC
    assert await sqlite.read(profiles.due, ACCOUNT, clock(), None, 1) == []
    if HOURS == 24:
        assert transport.seen == set(range(len(FAULTS)))
