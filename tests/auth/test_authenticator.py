"""Authentication of callers."""

import asyncio
import base64
import gc
import itertools
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import httpx
import pytest

from prosperstack_destination.account_mapping import load_catalog
from prosperstack_destination.auth.authenticator import Authenticator
from prosperstack_destination.auth.key_checks import MAX_WAITING
from prosperstack_destination.auth.vault import Vault
from prosperstack_destination.background import cancel
from prosperstack_destination.errors import ApiKeyForbidden, InvalidApiKey, KeyUnverified
from prosperstack_destination.prosperstack.client import ProsperStackClient
from prosperstack_destination.store import accounts as rows
from prosperstack_destination.store import credentials
from prosperstack_destination.store.accounts import AccountStatus
from prosperstack_destination.store.credentials import CredentialKind
from prosperstack_destination.store.database import Database
from support.clocks import SetClock

pytestmark = pytest.mark.anyio

ADDRESS = "192.0.2.1"
PLAN = {"id": "prop_1", "key": "plan", "name": "Plan", "entity": "subscriber", "type": "text", "format": None}
SEATS = {**PLAN, "id": "prop_2", "key": "seats", "entity": "subscription"}
ODD = {**PLAN, "id": "prop_3", "key": "odd", "type": "colour"}


class Api:
    """ProsperStack's response to key checks, and the number of checks."""

    def __init__(self) -> None:
        self.asked = 0
        #: Keys in the order in which they began to wait for a check, and in which they were checked.
        self.steps: list[tuple[str, str]] = []
        #: Set when more checks wait than a network may have.
        self.is_flooded = asyncio.Event()
        self.answer: Callable[[], httpx.Response] = lambda: httpx.Response(200, json={"data": [PLAN, SEATS, ODD]})

    async def handle(self, request: httpx.Request) -> httpx.Response:
        self.asked += 1
        encoded = request.headers["Authorization"].removeprefix("Basic ")
        self.steps.append(("checked", base64.b64decode(encoded).decode().removesuffix(":")))
        await asyncio.sleep(0)
        return self.answer()


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
def authenticator(database: Database, api: Api, clock: SetClock) -> Authenticator:
    return create_authenticator(database, api, clock)


def create_authenticator(
    database: Database, api: Api, clock: SetClock, *, allow_pass_through: bool = True
) -> Authenticator:
    http = httpx.AsyncClient(transport=httpx.MockTransport(api.handle))

    def connect(key: str) -> ProsperStackClient:
        api.steps.append(("waits", key))
        if len(api.steps) > MAX_WAITING:
            api.is_flooded.set()
        return ProsperStackClient(http, "https://api.prosperstack.test/v1", key)

    vault = Vault("a secret that is long enough")
    return Authenticator(database, vault, connect, clock, allow_pass_through=allow_pass_through)


async def test_new_prosperstack_key_opens_an_account(authenticator: Authenticator, api: Api) -> None:
    """The first use of a key costs one request, which lists the properties; later ones cost none."""
    account = await authenticator.authenticate("key_test_abc", ADDRESS)
    again = await authenticator.authenticate("key_test_abc", ADDRESS)

    assert api.asked == 1
    assert again.id == account.id
    assert not account.live
    assert account.fingerprint.startswith("test-")
    assert [each.key for each in load_catalog(account.catalog)] == ["plan"]
    assert "key_test_abc" not in account.encrypted_key
    assert authenticator.prosperstack_key(account) == "key_test_abc"


async def test_first_call_marks_the_key_as_used(
    authenticator: Authenticator, database: Database, clock: SetClock
) -> None:
    """After a first call the key does not show as unused."""
    account = await authenticator.authenticate("key_test_abc", ADDRESS)
    [key] = await database.read(credentials.of_kind, CredentialKind.KEY, account.id)

    assert key.last_used_at == clock()


async def test_known_key_survives_a_restart(
    authenticator: Authenticator, database: Database, api: Api, clock: SetClock
) -> None:
    """An account is stored in the database, and its key is not checked again."""
    account = await authenticator.authenticate("key_abc", ADDRESS)

    assert (await create_authenticator(database, api, clock).authenticate("key_abc", ADDRESS)).id == account.id
    assert api.asked == 1


async def test_concurrent_callers_share_a_check(authenticator: Authenticator, api: Api) -> None:
    """For any number of concurrent callers with a new key, ProsperStack is asked once."""
    opened = await asyncio.gather(*(authenticator.authenticate("key_abc", ADDRESS) for _ in range(20)))

    assert api.asked == 1
    assert len({account.id for account in opened}) == 1


async def test_live_and_test_keys_open_separate_accounts(authenticator: Authenticator) -> None:
    """Each ProsperStack key opens its own account."""
    live, test = (
        await authenticator.authenticate("key_abc", ADDRESS),
        await authenticator.authenticate("key_test_abc", ADDRESS),
    )

    assert live.id != test.id
    assert (live.live, test.live) == (True, False)


async def test_refused_key_is_cached_for_a_minute(authenticator: Authenticator, api: Api, clock: SetClock) -> None:
    """A refused key is refused without another check, for a minute."""
    api.answer = lambda: httpx.Response(401, json={"error": "no such key"})
    for _ in range(3):
        with pytest.raises(InvalidApiKey, match="no such key"):
            await authenticator.authenticate("key_abc", ADDRESS)
    assert api.asked == 1

    api.answer = lambda: httpx.Response(200, json={"data": []})
    clock.advance(61)

    assert (await authenticator.authenticate("key_abc", ADDRESS)).status is AccountStatus.ACTIVE


async def test_403_is_a_forbidden_key(authenticator: Authenticator, api: Api) -> None:
    """A 403 from ProsperStack differs from a 401."""
    api.answer = lambda: httpx.Response(403, json={"error": "read only"})

    with pytest.raises(ApiKeyForbidden, match="read only"):
        await authenticator.authenticate("key_abc", ADDRESS)


@pytest.mark.parametrize(
    ("answer", "retry_after"),
    [
        (httpx.Response(500), 5.0),
        (httpx.Response(200, text="<h1>Maintenance</h1>"), 5.0),
        (httpx.Response(429, headers={"RateLimit-Reset": "42"}), 42.0),
    ],
)
async def test_key_is_unverified_without_a_response(
    authenticator: Authenticator, api: Api, answer: httpx.Response, retry_after: float
) -> None:
    """While ProsperStack cannot be asked, a new key is neither valid nor refused, and is checked again."""
    api.answer = lambda: answer

    with pytest.raises(KeyUnverified) as caught:
        await authenticator.authenticate("key_abc", ADDRESS)
    assert caught.value.retry_after == retry_after

    api.answer = lambda: httpx.Response(200, json={"data": []})
    assert (await authenticator.authenticate("key_abc", ADDRESS)).status is AccountStatus.ACTIVE


@pytest.mark.parametrize("key", ["segment-key", "", "key_", "sk_live_1"])
async def test_malformed_key_is_refused_without_a_check(authenticator: Authenticator, api: Api, key: str) -> None:
    """ProsperStack is not asked about a text that cannot be its key."""
    with pytest.raises(InvalidApiKey):
        await authenticator.authenticate(key, ADDRESS)

    assert api.asked == 0


async def test_flood_of_wrong_keys_is_rate_limited(authenticator: Authenticator, api: Api) -> None:
    """Of many unknown keys a few are checked, one after the other; the other calls are retried later."""
    api.answer = lambda: httpx.Response(401, json={"error": "no"})
    results: list[Any] = await asyncio.gather(
        *(authenticator.authenticate(f"key_{n}", ADDRESS) for n in range(50)), return_exceptions=True
    )

    assert MAX_WAITING <= api.asked < 50
    assert sum(isinstance(each, InvalidApiKey) for each in results) == api.asked
    assert sum(isinstance(each, KeyUnverified) for each in results) == 50 - api.asked


async def test_flood_of_wrong_keys_does_not_block_other_networks(authenticator: Authenticator, api: Api) -> None:
    """During a flood from one network, a new key from another one is checked at the next turn."""
    numbers = itertools.count()

    async def flood() -> None:
        while True:
            with suppress(KeyUnverified):
                await authenticator.authenticate(f"key_{next(numbers)}", ADDRESS)
            await asyncio.sleep(0)

    flooding = [asyncio.create_task(flood()) for _ in range(2 * MAX_WAITING)]
    await api.is_flooded.wait()
    account = await authenticator.authenticate("key_new", "198.51.100.7")
    await cancel(flooding)

    assert account.status is AccountStatus.ACTIVE
    waited = api.steps[api.steps.index(("waits", "key_new")) : api.steps.index(("checked", "key_new"))]
    assert sum(step == "checked" for step, _ in waited) <= 2  # of checks whose turn had come before


async def test_key_check_is_one_request(authenticator: Authenticator, api: Api, database: Database) -> None:
    """Of an endless list of properties the first page is read: the worker lists all within its budget."""
    api.answer = lambda: httpx.Response(200, json={"data": [PLAN], "next_cursor": f"cursor_{api.asked}"})

    account = await authenticator.authenticate("key_abc", ADDRESS)

    assert api.asked == 1
    assert [each.key for each in load_catalog(account.catalog)] == ["plan"]
    stored = await database.read(rows.get, account.id)
    assert stored is not None
    assert stored.catalog_at is account.catalog_at is None


async def test_cached_refusals_are_small(sqlite: Database, api: Api, clock: SetClock) -> None:
    """A cached refusal takes less than 1 KB, without its traceback of 10 KB and more."""
    authenticator = create_authenticator(sqlite, api, clock)

    async def refuse(names: range) -> int:
        for n in names:
            with pytest.raises(InvalidApiKey):
                await authenticator.authenticate(f"made-up-{n}", ADDRESS)
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        before = await refuse(range(200))
        after = await refuse(range(200, 700))
    finally:
        tracemalloc.stop()

    assert 0 < after - before < 500 * 1_000


async def test_stopped_account_is_checked_once_a_minute_by_its_webhook(
    authenticator: Authenticator, database: Database, api: Api, clock: SetClock
) -> None:
    """Signed calls of a stopped account are refused without a request for each."""
    account = await authenticator.authenticate("key_abc", ADDRESS)
    await database.write(rows.set_status, account.id, AccountStatus.KEY_REFUSED, reason="it stopped working")
    api.answer = lambda: httpx.Response(401, json={"error": "the key was deleted"})
    clock.advance(3)
    for _ in range(3):
        with pytest.raises(InvalidApiKey, match="the key was deleted"):
            await authenticator.by_id(account.id)
    assert api.asked == 2

    api.answer = lambda: httpx.Response(200, json={"data": []})
    clock.advance(61)
    assert (await authenticator.by_id(account.id)).status is AccountStatus.ACTIVE


async def test_pass_through_can_be_disabled(
    authenticator: Authenticator, database: Database, api: Api, clock: SetClock
) -> None:
    """Without pass-through no ProsperStack key opens an account, not even one that did before."""
    await authenticator.authenticate("key_abc", ADDRESS)
    closed = create_authenticator(database, api, clock, allow_pass_through=False)

    for key in ("key_abc", "key_other"):
        with pytest.raises(InvalidApiKey):
            await closed.authenticate(key, ADDRESS)
    assert api.asked == 1


async def test_settings_open_an_account(authenticator: Authenticator, api: Api) -> None:
    """PROSPERSTACK_API_KEY with SEGMENT_KEYS opens an account without asking ProsperStack."""
    await authenticator.sync_from_settings("key_own", ["segment-1", "segment-2"])

    one, two = (
        await authenticator.authenticate("segment-1", ADDRESS),
        await authenticator.authenticate("segment-2", ADDRESS),
    )

    assert one.id == two.id
    assert authenticator.prosperstack_key(one) == "key_own"
    assert api.asked == 0


async def test_keys_removed_from_the_settings_are_revoked(authenticator: Authenticator) -> None:
    """A key is valid while the settings contain it."""
    await authenticator.sync_from_settings("key_own", ["old", "kept"])
    before = await authenticator.authenticate("kept", ADDRESS)

    await authenticator.sync_from_settings("key_own", ["kept", "new"])

    assert (await authenticator.authenticate("kept", ADDRESS)).id == before.id
    assert (await authenticator.authenticate("new", ADDRESS)).id == before.id
    with pytest.raises(InvalidApiKey):
        await authenticator.authenticate("old", ADDRESS)
    await authenticator.sync_from_settings("key_own", ["old"])
    assert (await authenticator.authenticate("old", ADDRESS)).id == before.id


@pytest.mark.parametrize(
    ("status", "denial"),
    [(AccountStatus.KEY_REFUSED, InvalidApiKey), (AccountStatus.NOT_PERMITTED, ApiKeyForbidden)],
)
async def test_stopped_account_refuses_its_callers(
    authenticator: Authenticator,
    database: Database,
    api: Api,
    clock: SetClock,
    status: AccountStatus,
    denial: type[Exception],
) -> None:
    """Callers of an account whose key stopped working are refused, until a new check succeeds."""
    account = await authenticator.authenticate("key_abc", ADDRESS)
    await database.write(rows.set_status, account.id, status, reason="it stopped working")
    code = 401 if denial is InvalidApiKey else 403
    api.answer = lambda: httpx.Response(code, json={"error": "the key was deleted"})
    clock.advance(3)
    for _ in range(3):
        with pytest.raises(denial, match="the key was deleted"):
            await authenticator.authenticate("key_abc", ADDRESS)
    assert api.asked == 2

    api.answer = lambda: httpx.Response(200, json={"data": []})
    clock.advance(61)
    assert (await authenticator.authenticate("key_abc", ADDRESS)).status is AccountStatus.ACTIVE
    assert api.asked == 3
