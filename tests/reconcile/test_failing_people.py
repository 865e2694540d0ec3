"""Failures of one profile, or of one kind of request: the API and metrics show them, and the others continue."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from prosperstack_destination.clock import system_clock
from prosperstack_destination.sandbox import SandboxConfig, create_sandbox
from prosperstack_destination.settings import Settings
from prosperstack_destination.store import account_stats, problems
from prosperstack_destination.store.account_stats import AccountStats
from prosperstack_destination.store.database import Database
from prosperstack_destination.store.problems import PropertyCreation
from support.operators import add_token, operator
from support.service import KEY, Service, running, settings

pytestmark = pytest.mark.anyio

JOHN = "john.doe@example.com"
#: Time between two looks at the API, in seconds.
PAUSE = 0.02
Breaks = Callable[[httpx.Request], bool]


def bad_gateway(request: httpx.Request) -> httpx.Response:
    return httpx.Response(502, json={"error": "bad gateway"}, request=request)


def timed_out(request: httpx.Request) -> httpx.Response:
    raise httpx.ReadTimeout("", request=request)


def too_many(**headers: str) -> Callable[[httpx.Request], httpx.Response]:
    """Return an answer with 429, and no report of the limit."""
    return lambda request: httpx.Response(429, json={"error": "slow down"}, headers=headers, request=request)


class Broken(httpx.AsyncBaseTransport):
    """Carries requests to a sandbox, but for those that fail."""

    def __init__(self, sandbox: Any, failure: Callable[[httpx.Request], httpx.Response] = bad_gateway) -> None:
        self._sandbox = httpx.ASGITransport(sandbox)
        self._failure = failure
        self.breaks: Breaks = lambda _: False
        #: Number of failed requests.
        self.failed = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self.breaks(request):
            self.failed += 1
            return self._failure(request)
        return await self._sandbox.handle_async_request(request)


@pytest.fixture
def sandbox() -> Any:
    return create_sandbox(SandboxConfig(subscribers=20, keys=(KEY,), rate_limit=10_000))


@pytest.fixture
def configured(tmp_path: Path, database_url: str) -> Settings:
    return settings(tmp_path, database_url=database_url)


async def token_of(configured: Settings) -> str:
    database = Database(configured.effective_database_url)
    try:
        return await database.write(add_token)
    finally:
        await database.close()


async def attempt(configured: Settings, account_id: str) -> PropertyCreation:
    """Return the first attempt to create a property."""
    database = Database(configured.effective_database_url)
    try:
        async with asyncio.timeout(15):
            while not (found := await database.read(problems.property_creations, account_id)):  # noqa: ASYNC110 -- as below
                await asyncio.sleep(PAUSE)
    finally:
        await database.close()
    return found[0]


def subscriber(sandbox: Any, email: str) -> str:
    [record] = sandbox.state.accounts[KEY].data.subscribers.after(0, email)
    found: str = record.fields["id"]
    return found


def others(sandbox: Any, count: int) -> list[str]:
    every = [each.fields["email"] for each in sandbox.state.accounts[KEY].data.subscribers.after(0)]
    return [each for each in every if each != JOHN][:count]


async def stats_of(configured: Settings) -> AccountStats:
    """Return the figures that `status` and `doctor` print."""
    database = Database(configured.effective_database_url)
    try:
        [found] = await database.read(account_stats.of_accounts, system_clock())
    finally:
        await database.close()
    return found


async def until(api: httpx.AsyncClient, path: str, holds: Callable[[Any], bool], seconds: float = 15) -> Any:
    """Return the API's response once a condition holds."""
    async with asyncio.timeout(seconds):
        while not holds(found := (await api.get(path)).json()):  # noqa: ASYNC110 -- the API tells of no change
            await asyncio.sleep(PAUSE)
    return found


async def statuses(api: httpx.AsyncClient, seconds: float) -> set[str]:
    """Return every status that the account has meanwhile."""
    found: set[str] = set()
    ends_at = asyncio.get_running_loop().time() + seconds
    while asyncio.get_running_loop().time() < ends_at:
        found.add((await api.get("overview")).json()["status"])
        await asyncio.sleep(PAUSE)
    return found


def has(service: Service, value: str, *people: str) -> Callable[[], bool]:
    """Return a check that ProsperStack has a preferred name for each of these people."""
    return lambda: all(service.values(email)[0].get("preferred_name") == value for email in people)


def one_waits(overview: Any) -> bool:
    """Return whether all other deliveries are stored, which ProsperStack has shortly before."""
    return bool(sum(overview["waiting"].values()) == 1)


def updates(request: httpx.Request, of: str = "") -> bool:
    return request.method == "PATCH" and request.url.path.endswith(of)


async def metric(service: Service, name: str) -> float:
    text = (await service.client.get("/metrics", auth=None)).text
    [line] = [each for each in text.splitlines() if each.startswith(f"prosperstack_destination_{name}{{")]
    return float(line.split()[-1])


async def test_failing_profile_is_listed_and_delivered_by_a_retry(configured: Settings, sandbox: Any) -> None:
    """A profile whose updates fail counts as backlog, is listed with the reason, and is delivered by a retry."""
    way = Broken(sandbox)
    poisoned = subscriber(sandbox, JOHN)
    way.breaks = lambda request: updates(request, poisoned)
    async with running(configured, sandbox, way) as service:
        for email in (JOHN, *others(sandbox, 5)):
            await service.identify(email, preferred_name="new")
        await service.until(has(service, "new", *others(sandbox, 5)))
        async with operator(service, await token_of(configured)) as api:
            await until(api, "overview", one_waits)
            [failed] = (await until(api, "failures", lambda found: found["waiting"]))["waiting"]
            overview = (await api.get("overview")).json()
            figures = [await metric(service, name) for name in ("backlog", "failing", "account_active")]
            oldest = await metric(service, "oldest_pending_seconds")

            way.breaks = lambda _: False
            retried = (await api.post("problems/retry", json={})).json()
            await service.until(has(service, "new", JOHN))
            settled = await until(api, "overview", lambda found: found["up_to_date"])
            left = (await api.get("failures")).json()

    assert failed["email"] == JOHN
    assert "bad gateway" in failed["reason"]
    assert failed["next_attempt_at"]
    assert overview["status"] == "active"
    assert not overview["up_to_date"]
    assert sum(overview["waiting"].values()) == 1
    assert overview["failures"]["waiting"] == 1
    assert "bad gateway" in overview["failures"]["reason"]
    assert overview["progress"]["left"] == 1
    assert overview["progress"]["seconds"] is None
    assert figures == [1, 1, 1]
    assert oldest > 0
    assert retried == {"profiles": 1}
    assert (settled["waiting"], settled["failures"]["waiting"], left["waiting"]) == ({}, 0, [])


async def test_failing_updates_make_the_account_wait(configured: Settings, sandbox: Any) -> None:
    """Where all updates fail the account waits, without flapping and without an estimate, until one succeeds."""
    way = Broken(sandbox)
    way.breaks = updates
    people = (JOHN, *others(sandbox, 9))
    async with running(configured, sandbox, way) as service:
        for email in people:
            await service.identify(email, preferred_name="new")
        async with operator(service, await token_of(configured)) as api:
            waits = await until(api, "overview", lambda found: found["status"] == "retrying")
            attempts, seen = way.failed, set()
            while way.failed < attempts + 2:  # two more attempts, after 1 s and after 2 s
                seen |= await statuses(api, seconds=0.1)
            failed = (await api.get("failures")).json()["waiting"]

            way.breaks = lambda _: False
            assert (await api.post("problems/retry", json={})).status_code == 200
            works = await until(api, "overview", lambda found: found["up_to_date"])

    assert "bad gateway" in waits["status_reason"]
    assert (sum(waits["waiting"].values()), waits["progress"]["seconds"]) == (10, None)
    assert seen == {"retrying"}
    assert len(failed) >= 3
    assert works["status"] == "active"
    assert {service.values(email)[0]["preferred_name"] for email in people} == {"new"}


#: Failures without words of ProsperStack's, and what is said of them.
WORDLESS = [
    pytest.param(too_many(**{"Retry-After": "0"}), "rate limit is spent", id="429"),
    pytest.param(timed_out, "ReadTimeout", id="time-outs"),
]


@pytest.mark.parametrize(("failure", "said"), WORDLESS)
async def test_429s_and_timeouts_of_one_profile_are_listed(
    configured: Settings, failure: Callable[[httpx.Request], httpx.Response], said: str
) -> None:
    """A profile whose updates get 429 or no answer counts everywhere, and is delivered by a retry."""
    sandbox = create_sandbox(SandboxConfig(20, rate_limit=1_000, window_seconds=0.5, keys=(KEY,)))
    way = Broken(sandbox, failure)
    poisoned = subscriber(sandbox, JOHN)
    way.breaks = lambda request: updates(request, poisoned)
    async with running(configured, sandbox, way) as service:
        for email in (JOHN, *others(sandbox, 3)):
            await service.identify(email, preferred_name="new")
        await service.until(has(service, "new", *others(sandbox, 3)))
        async with operator(service, await token_of(configured)) as api:
            early = await until(api, "overview", one_waits)
            [failed] = (await until(api, "failures", lambda found: found["waiting"]))["waiting"]
            overview = (await api.get("overview")).json()
            seen = await statuses(api, seconds=1)
            figures = [await metric(service, name) for name in ("backlog", "failing", "account_active")]
            stats = await stats_of(configured)
            way.breaks = lambda _: False
            retried = (await api.post("problems/retry", json={})).json()
            await service.until(has(service, "new", JOHN))
            await until(api, "overview", lambda found: found["up_to_date"])

    assert not early["up_to_date"]
    assert (failed["email"], said in failed["reason"], bool(failed["next_attempt_at"])) == (JOHN, True, True)
    assert (overview["up_to_date"], overview["failures"]["waiting"]) == (False, 1)
    assert said in overview["failures"]["reason"]
    assert (seen, figures, retried) == ({"active"}, [1, 1, 1], {"profiles": 1})
    assert (stats.backlog, stats.failures.waiting, stats.oldest_at is not None) == (1, 1, True)


@pytest.mark.parametrize(("failure", "said"), WORDLESS)
async def test_429s_and_timeouts_of_all_make_the_account_wait(
    configured: Settings, failure: Callable[[httpx.Request], httpx.Response], said: str
) -> None:
    """Where every update gets 429 or no answer the account waits without flapping, and continues after a retry."""
    sandbox = create_sandbox(SandboxConfig(20, rate_limit=1_000, window_seconds=0.5, keys=(KEY,)))
    way = Broken(sandbox, failure)
    way.breaks = updates
    people = (JOHN, *others(sandbox, 4))
    async with running(configured, sandbox, way) as service:
        for email in people:
            await service.identify(email, preferred_name="new")
        async with operator(service, await token_of(configured)) as api:
            early = (await api.get("overview")).json()
            waits = await until(api, "overview", lambda found: found["status"] == "retrying", 60)
            seen = await statuses(api, seconds=3)
            figures = [await metric(service, name) for name in ("backlog", "account_active")]
            stats = await stats_of(configured)
            way.breaks = lambda _: False
            assert (await api.post("problems/retry", json={})).status_code == 200
            await until(api, "overview", lambda found: found["up_to_date"])

    assert not early["up_to_date"]
    assert said in waits["status_reason"]
    assert (waits["up_to_date"], sum(waits["waiting"].values()), waits["progress"]["seconds"]) == (False, 5, None)
    assert (seen, figures) == ({"retrying"}, [5, 0])
    assert (stats.backlog, said in (stats.status_reason or "")) == (5, True)
    assert {service.values(email)[0]["preferred_name"] for email in people} == {"new"}


@pytest.mark.parametrize(
    "breaks",
    [
        pytest.param(lambda request: bool(request.url.params.get("email")), id="lookups"),
        pytest.param(lambda request: updates(request) and "subscriptions" in request.url.path, id="subscriptions"),
        pytest.param(lambda request: request.url.path.endswith("/subscriptions"), id="listing subscriptions"),
    ],
)
async def test_failing_lookup_or_subscription_request_is_listed(
    configured: Settings, sandbox: Any, breaks: Breaks
) -> None:
    """A failing lookup or subscription request puts its profile on the list of failures."""
    way = Broken(sandbox)
    data = sandbox.state.accounts[KEY].data
    for each in data.subscriptions.after(0, subscriber_id=subscriber(sandbox, JOHN)):
        each.fields["status"] = "active"
    async with running(configured, sandbox, way) as service:
        await service.identify(others(sandbox, 1)[0], preferred_name="first")
        async with operator(service, await token_of(configured)) as api:
            rules = {"rules": [{"property": "subscription.seats", "from": "traits.seats"}]}
            put = await api.put("mapping", json={"based_on": 0, "mapping": rules})
            await until(api, "overview", lambda found: found["up_to_date"])
            way.breaks = breaks
            await service.identify(JOHN, preferred_name="new", seats=7)
            [failed] = (await until(api, "failures", lambda found: found["waiting"]))["waiting"]
            overview = (await api.get("overview")).json()
            way.breaks = lambda _: False
            await api.post("problems/retry", json={})
            await until(api, "overview", lambda found: found["up_to_date"])

    assert put.status_code == 200
    assert (failed["email"], "bad gateway" in failed["reason"]) == (JOHN, True)
    assert (overview["up_to_date"], sum(overview["waiting"].values())) == (False, 1)
    assert service.values(JOHN)[0]["preferred_name"] == "new"


async def test_failing_erasure_is_listed_and_retried(configured: Settings, sandbox: Any) -> None:
    """An erasure that fails in ProsperStack is listed and counted, delays no profile, and a retry completes it."""
    way = Broken(sandbox)
    poisoned = subscriber(sandbox, JOHN)
    other = others(sandbox, 1)[0]
    async with running(configured, sandbox, way) as service:
        await service.identify(JOHN, preferred_name="new")
        await service.until(has(service, "new", JOHN))
        async with operator(service, await token_of(configured)) as api:
            await until(api, "overview", lambda found: found["up_to_date"])
            way.breaks = lambda request: updates(request, poisoned)
            [person] = (await api.get("profiles", params={"prefix": JOHN})).json()["profiles"]
            erased = await api.delete(f"profiles/{person['id']}")
            [failed] = (await until(api, "failures", lambda found: found["clearings"]))["clearings"]
            overview = (await api.get("overview")).json()
            figure = await metric(service, "failing_erasures")
            await service.identify(other, preferred_name="other")
            await service.until(has(service, "other", other))
            way.breaks = lambda _: False
            await api.post("problems/retry", json={})
            await service.until(lambda: "preferred_name" not in service.values(JOHN)[0])

    assert erased.is_success
    assert "bad gateway" in failed["reason"]
    assert (overview["status"], overview["up_to_date"], overview["failures"]["erasures"]) == ("active", False, 1)
    assert figure == 1


async def test_failed_property_creation_is_retried_later(configured: Settings, sandbox: Any) -> None:
    """A failed creation is stored with its next attempt, and deliveries continue."""
    way = Broken(sandbox)
    way.breaks = lambda request: request.method == "POST"
    async with running(configured, sandbox, way) as service:
        await service.identify(JOHN, preferred_name="first")
        async with operator(service, await token_of(configured)) as api:
            put = await api.put("mapping", json={"based_on": 0, "mapping": {"create_missing": "audiences"}})
            personas = {"computation_class": "audience", "computation_key": "vip", "namespace": "users"}
            call = {"type": "identify", "context": {"personas": personas}, "traits": {"email": JOHN, "vip": True}}
            await service.client.post("/identify", json=call)
            await service.identify(JOHN, preferred_name="second")
            await service.until(has(service, "second", JOHN))
            overview = (await api.get("overview")).json()
            account_id = api.base_url.path.split("/")[3]
            creation = await attempt(configured, account_id)

    assert put.status_code == 200
    assert overview["status"] == "active"
    assert creation.reason is not None
    assert "bad gateway" in creation.reason
    assert creation.retry_at is not None


async def test_failing_listing_is_shown(configured: Settings, sandbox: Any) -> None:
    """Where the listing fails the account shows the reason, and its profiles count as backlog."""
    way = Broken(sandbox)
    way.breaks = lambda request: request.url.path == "/v1/subscribers" and "email" not in request.url.params
    people = others(sandbox, 19)
    async with running(configured, sandbox, way) as service:
        for email in people:
            await service.identify(email, preferred_name="new")
        async with operator(service, await token_of(configured)) as api:
            waits = await until(api, "overview", lambda found: found["status"] == "retrying")
            way.breaks = lambda _: False
            await api.post("problems/retry", json={})
            await until(api, "overview", lambda found: found["up_to_date"])

    assert "bad gateway" in waits["status_reason"]
    assert sum(waits["waiting"].values()) > 0
