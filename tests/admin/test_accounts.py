"""Tests of opening and changing accounts."""

from pathlib import Path
from typing import Any

import pytest

from prosperstack_destination.admin import accounts
from prosperstack_destination.auth import credentials as issuing
from prosperstack_destination.auth.vault import Vault
from prosperstack_destination.errors import InvalidInput, NotFoundError
from prosperstack_destination.sandbox import SandboxConfig, create_sandbox
from prosperstack_destination.store import accounts as rows
from prosperstack_destination.store import activity
from prosperstack_destination.store.accounts import AccountStatus, OnDelete
from prosperstack_destination.store.database import Database
from support.accounts import open_account
from support.clocks import NEW_YEAR
from support.service import KEY, running, settings

pytestmark = pytest.mark.anyio

VAULT = Vault("a secret that is long enough")
JOHN = "john.doe@example.com"


async def test_account_is_opened_once_for_a_key(database: Database) -> None:
    """A ProsperStack key opens one account, which is found by its ID and by its fingerprint."""
    account, is_new = await database.write(accounts.open_account, KEY, VAULT, "ann", NEW_YEAR)
    again = await database.write(accounts.open_account, KEY, VAULT, "bob", NEW_YEAR)

    assert (is_new, again) == (True, (account, False))
    for name in (account.id, account.fingerprint):
        assert await database.read(accounts.find, name) == account
    with pytest.raises(NotFoundError):
        await database.read(accounts.find, KEY)
    with pytest.raises(InvalidInput, match="not a ProsperStack API key"):
        await database.write(accounts.open_account, "sk_1", VAULT, "ann", NEW_YEAR)
    assert [each.actor for each in await database.read(activity.recent_actions, account.id, 9)] == ["ann"]


async def test_settings_apply_to_one_account(database: Database) -> None:
    """Changed settings apply to one account, and are in its audit log."""
    account = await database.write(open_account)
    await database.write(open_account, "acct_2")
    await database.write(accounts.set_on_delete, account, OnDelete.NOTHING, "ann", NEW_YEAR)
    await database.write(accounts.set_reserve, account, 0.25, "ann", NEW_YEAR)
    chosen, other = await database.read(rows.all_accounts)
    reserves = await database.read(rows.reserves)
    await database.write(accounts.set_reserve, account, None, "ann", NEW_YEAR)

    assert (chosen.on_delete, chosen.reserve, chosen.reserve_or(0.1)) == (OnDelete.NOTHING, 0.25, 0.25)
    assert (other.on_delete, other.reserve, other.reserve_or(0.1)) == (OnDelete.CLEAR, None, 0.1)
    assert reserves == {"acct_1": 0.25}
    assert await database.read(rows.reserves) == {}
    trail = [(each.action, each.details) for each in await database.read(activity.recent_actions, "acct_1", 9)]
    assert trail == [("set", {"reserve": None}), ("set", {"reserve": 0.25}), ("set", {"on_delete": "nothing"})]


async def test_answer_to_a_former_key_is_dropped(database: Database) -> None:
    """The answer to a replaced key does not change the status of the account."""
    account, _ = await database.write(accounts.open_account, KEY, VAULT, "ann", NEW_YEAR)
    await database.write(issuing.replace_key, account, "key_test_new", VAULT, "ann", NEW_YEAR)
    former = account.encrypted_key
    await database.write(rows.set_status, account.id, AccountStatus.KEY_REFUSED, encrypted_key=former)
    [kept] = await database.read(rows.all_accounts)
    await database.write(rows.set_status, account.id, AccountStatus.ACTIVE, encrypted_key=kept.encrypted_key)
    [works] = await database.read(rows.all_accounts)

    assert (kept.status, works.status) == (AccountStatus.RETRYING, AccountStatus.ACTIVE)


@pytest.mark.parametrize("reserve", [-0.1, 1.0, 90, float("nan"), float("inf")])
async def test_invalid_reserve_is_rejected(sqlite: Database, reserve: float) -> None:
    """A number that is no part of the rate limit is rejected, and nothing changes."""
    account = await sqlite.write(open_account)

    with pytest.raises(InvalidInput, match="less than 1"):
        await sqlite.write(accounts.set_reserve, account, reserve, "ann", NEW_YEAR)
    assert await sqlite.read(rows.all_accounts) == [account]
    assert await sqlite.read(activity.recent_actions, account.id, 9) == []


async def test_lower_reserve_applies_within_seconds(tmp_path: Path) -> None:
    """A delivery that waits for a long window continues within seconds after the reserve is lowered."""
    sandbox = create_sandbox(SandboxConfig(subscribers=5, keys=(KEY,), rate_limit=10, window_seconds=600))
    database = Database(f"sqlite:///{tmp_path / 'data' / 'destination.db'}")
    async with running(settings(tmp_path, rate_limit_reserve=0.9), sandbox) as service:

        def name() -> Any:
            return service.values(JOHN)[0].get("preferred_name")

        await service.identify(JOHN, preferred_name="Delivered")
        while (await service.asked()).get("GET /v1/subscribers 200") is None:  # the only request that may go
            pass
        [account] = await database.read(rows.all_accounts)
        before = name()
        await database.write(accounts.set_reserve, account, 0.0, "ann", NEW_YEAR)
        await service.until(lambda: name() == "Delivered", seconds=20)
    await database.close()

    assert before != "Delivered"
