"""From the key that a caller shows to the account that it opens."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from prosperstack_destination.accounts.accounts import CHECKS_PER_SECOND, Accounts
from prosperstack_destination.accounts.catalogs import load_catalog
from prosperstack_destination.accounts.vault import Vault
from prosperstack_destination.errors import KeyNotPermitted, KeyRefused, KeyUnverified
from prosperstack_destination.prosperstack.client import ProsperStack
from prosperstack_destination.state import accounts as rows
from prosperstack_destination.state import credentials
from prosperstack_destination.state.accounts import AccountStatus
from prosperstack_destination.state.database import Database
from support.clocks import SetClock

pytestmark = pytest.mark.anyio

PLAN = {"id": "prop_1", "key": "plan", "name": "Plan", "entity": "subscriber", "type": "text", "format": None}
SEATS = {**PLAN, "id": "prop_2", "key": "seats", "entity": "subscription"}
ODD = {**PLAN, "id": "prop_3", "key": "odd", "type": "colour"}


class Api:
    """ProsperStack, as far as keys go: what it answers, and how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.answer: Callable[[], httpx.Response] = lambda: httpx.Response(200, json={"data": [PLAN, SEATS, ODD]})

    async def handle(self, _: httpx.Request) -> httpx.Response:
        self.asked += 1
        await asyncio.sleep(0)
        return self.answer()


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
def accounts(database: Database, api: Api, clock: SetClock) -> Accounts:
    return make(database, api, clock)


def make(database: Database, api: Api, clock: SetClock, *, allow_pass_through: bool = True) -> Accounts:
    http = httpx.AsyncClient(transport=httpx.MockTransport(api.handle))

    def connect(key: str) -> ProsperStack:
        return ProsperStack(http, "https://api.prosperstack.test/v1", key)

    vault = Vault("a secret that is long enough")
    return Accounts(database, vault, connect, clock, allow_pass_through=allow_pass_through)


async def test_a_new_prosperstack_key_opens_an_account(accounts: Accounts, api: Api) -> None:
    """The first sight of a key costs one request, which lists the properties; later ones cost none."""
    account = await accounts.authenticate("key_test_abc")
    again = await accounts.authenticate("key_test_abc")

    assert api.asked == 1
    assert again.id == account.id
    assert not account.live
    assert account.fingerprint.startswith("test-")
    assert [each.key for each in load_catalog(account.catalog)] == ["plan"]
    assert "key_test_abc" not in account.encrypted_key
    assert accounts.prosperstack_key(account) == "key_test_abc"


async def test_the_first_sight_of_a_key_is_a_use_of_it(
    accounts: Accounts, database: Database, clock: SetClock
) -> None:
    """Who has just sent a first call is not told that the key was never used."""
    account = await accounts.authenticate("key_test_abc")
    [key] = await database.read(credentials.keys_of, account.id)

    assert key.last_used_at == clock()


async def test_a_known_key_is_known_after_a_restart(
    accounts: Accounts, database: Database, api: Api, clock: SetClock
) -> None:
    """An account is kept in the database, and its key is not asked about again."""
    account = await accounts.authenticate("key_abc")

    assert (await make(database, api, clock).authenticate("key_abc")).id == account.id
    assert api.asked == 1


async def test_callers_at_once_share_a_check(accounts: Accounts, api: Api) -> None:
    """However many callers show a new key at once, ProsperStack is asked once."""
    opened = await asyncio.gather(*(accounts.authenticate("key_abc") for _ in range(20)))

    assert api.asked == 1
    assert len({account.id for account in opened}) == 1


async def test_live_and_test_are_accounts_of_their_own(accounts: Accounts) -> None:
    """Each ProsperStack key opens its own account."""
    live, test = await accounts.authenticate("key_abc"), await accounts.authenticate("key_test_abc")

    assert live.id != test.id
    assert (live.live, test.live) == (True, False)


async def test_a_refused_key_is_remembered_for_a_while(accounts: Accounts, api: Api, clock: SetClock) -> None:
    """A key that ProsperStack refuses is refused without asking again, until a minute has gone by."""
    api.answer = lambda: httpx.Response(401, json={"error": "no such key"})
    for _ in range(3):
        with pytest.raises(KeyRefused, match="no such key"):
            await accounts.authenticate("key_abc")
    assert api.asked == 1

    api.answer = lambda: httpx.Response(200, json={"data": []})
    clock.advance(61)

    assert (await accounts.authenticate("key_abc")).status is AccountStatus.ACTIVE


async def test_a_key_that_is_not_permitted(accounts: Accounts, api: Api) -> None:
    """403 from ProsperStack is told apart from 401."""
    api.answer = lambda: httpx.Response(403, json={"error": "read only"})

    with pytest.raises(KeyNotPermitted, match="read only"):
        await accounts.authenticate("key_abc")


@pytest.mark.parametrize(
    ("answer", "retry_after"),
    [
        (httpx.Response(500), 5.0),
        (httpx.Response(200, text="<h1>Maintenance</h1>"), 5.0),
        (httpx.Response(429, headers={"RateLimit-Reset": "42"}), 42.0),
    ],
)
async def test_no_answer_is_no_refusal(
    accounts: Accounts, api: Api, answer: httpx.Response, retry_after: float
) -> None:
    """While ProsperStack cannot be asked, a new key is neither good nor bad, and is asked about again."""
    api.answer = lambda: answer

    with pytest.raises(KeyUnverified) as caught:
        await accounts.authenticate("key_abc")
    assert caught.value.retry_after == retry_after

    api.answer = lambda: httpx.Response(200, json={"data": []})
    assert (await accounts.authenticate("key_abc")).status is AccountStatus.ACTIVE


@pytest.mark.parametrize("key", ["segment-key", "", "key_", "sk_live_1"])
async def test_what_has_not_the_form_of_a_key_is_refused_unasked(accounts: Accounts, api: Api, key: str) -> None:
    """ProsperStack is asked about nothing that cannot be a key of its own."""
    with pytest.raises(KeyRefused):
        await accounts.authenticate(key)

    assert api.asked == 0


async def test_a_flood_of_wrong_keys_is_no_flood_for_prosperstack(accounts: Accounts, api: Api) -> None:
    """Of many unknown keys at once only a few a second are asked about; the others come again later."""
    api.answer = lambda: httpx.Response(401, json={"error": "no"})
    results: list[Any] = await asyncio.gather(
        *(accounts.authenticate(f"key_{n}") for n in range(50)), return_exceptions=True
    )

    assert api.asked == CHECKS_PER_SECOND
    assert sum(isinstance(each, KeyRefused) for each in results) == CHECKS_PER_SECOND
    assert sum(isinstance(each, KeyUnverified) for each in results) == 50 - CHECKS_PER_SECOND


async def test_pass_through_can_be_switched_off(
    accounts: Accounts, database: Database, api: Api, clock: SetClock
) -> None:
    """Without pass-through no ProsperStack key opens anything, also one that did before."""
    await accounts.authenticate("key_abc")
    closed = make(database, api, clock, allow_pass_through=False)

    for key in ("key_abc", "key_other"):
        with pytest.raises(KeyRefused):
            await closed.authenticate(key)
    assert api.asked == 1


async def test_the_operators_account(accounts: Accounts, api: Api) -> None:
    """PROSPERSTACK_API_KEY with SEGMENT_KEYS opens an account without asking ProsperStack."""
    await accounts.configure("key_own", ["segment-1", "segment-2"])

    one, two = await accounts.authenticate("segment-1"), await accounts.authenticate("segment-2")

    assert one.id == two.id
    assert accounts.prosperstack_key(one) == "key_own"
    assert api.asked == 0


async def test_keys_taken_out_of_the_settings_are_revoked(accounts: Accounts) -> None:
    """A key is good as long as it stands in the settings."""
    await accounts.configure("key_own", ["old", "kept"])
    before = await accounts.authenticate("kept")

    await accounts.configure("key_own", ["kept", "new"])

    assert (await accounts.authenticate("kept")).id == before.id
    assert (await accounts.authenticate("new")).id == before.id
    with pytest.raises(KeyRefused):
        await accounts.authenticate("old")
    await accounts.configure("key_own", ["old"])
    assert (await accounts.authenticate("old")).id == before.id


@pytest.mark.parametrize(
    ("status", "denial"),
    [(AccountStatus.KEY_REFUSED, KeyRefused), (AccountStatus.NOT_PERMITTED, KeyNotPermitted)],
)
async def test_a_stopped_account_refuses_its_callers(
    accounts: Accounts,
    database: Database,
    api: Api,
    clock: SetClock,
    status: AccountStatus,
    denial: type[Exception],
) -> None:
    """Callers of an account whose key stopped working are told so, until a new try finds that it works."""
    account = await accounts.authenticate("key_abc")
    await database.write(rows.set_status, account.id, status, reason="it stopped working")
    code = 401 if denial is KeyRefused else 403
    api.answer = lambda: httpx.Response(code, json={"error": "the key was deleted"})
    clock.advance(3)
    for _ in range(3):
        with pytest.raises(denial, match="the key was deleted"):
            await accounts.authenticate("key_abc")
    assert api.asked == 2

    api.answer = lambda: httpx.Response(200, json={"data": []})
    clock.advance(61)
    assert (await accounts.authenticate("key_abc")).status is AccountStatus.ACTIVE
    assert api.asked == 3
