"""An account or a profile whose stored data cannot be read stops no other, and is reported once."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Connection, insert, update
from structlog.testing import capture_logs

from prosperstack_destination.auth.api_keys import key_hash
from prosperstack_destination.mapping.rules import Rules
from prosperstack_destination.reconcile.preview import coverage, preview
from prosperstack_destination.sandbox import SandboxConfig, create_sandbox
from prosperstack_destination.store import accounts, mappings
from prosperstack_destination.store.accounts import Account
from prosperstack_destination.store.database import Database
from prosperstack_destination.store.tables import accounts as account_rows
from prosperstack_destination.store.tables import mappings as mapping_rows
from prosperstack_destination.store.tables import profiles
from support.clocks import NEW_YEAR
from support.operators import add_token, operator
from support.service import KEY, Service, running, settings

pytestmark = pytest.mark.anyio

JOHN = "john.doe@example.com"
OTHER = "key_test_other"


def has(service: Service, key: str, value: str) -> Callable[[], bool]:
    return lambda: service.values(JOHN, key)[0].get("preferred_name") == value


def account_of(connection: Connection, key: str) -> Account:
    found = accounts.find_by_key_hash(connection, key_hash(key))
    assert found is not None
    return found


def reason_of_status(connection: Connection, account_id: str) -> str:
    account = accounts.get(connection, account_id)
    assert account is not None
    return account.status_reason or ""


def break_catalog(connection: Connection, account_id: str) -> None:
    connection.execute(update(account_rows).where(account_rows.c.id == account_id).values(catalog='{"no list'))


def break_rules(connection: Connection, account_id: str) -> None:
    """Store a version that cannot be read, as a later release might, and remap to it."""
    mappings.begin_remap(connection, account_id, NEW_YEAR)
    row = {"account_id": account_id, "version": 1, "rules": '{"rules": 7}', "author": "", "applied_at": 0}
    connection.execute(insert(mapping_rows).values(**row, note=""))


@pytest.mark.parametrize(
    ("damage", "part", "heals"), [(break_catalog, "properties", True), (break_rules, "rules", False)]
)
async def test_unreadable_account_backs_off_and_stops_no_other(
    tmp_path: Path, database_url: str, damage: Callable[[Connection, str], None], part: str, heals: bool
) -> None:
    """Its calls are accepted, it waits with the reason, the log has it once, and another account is served."""
    sandbox = create_sandbox(SandboxConfig(subscribers=20, keys=(KEY, OTHER), rate_limit=10_000))
    database = Database(database_url)
    async with running(settings(tmp_path, database_url=database_url), sandbox) as service:
        for key in (KEY, OTHER):
            await service.identify(JOHN, key=key, preferred_name="first")
            await service.until(has(service, key, "first"))
        account = await database.read(account_of, KEY)
        with capture_logs() as logs:
            await database.write(damage, account.id)
            answer = await service.identify(JOHN, preferred_name="second")
            for number in range(20):
                await service.identify(JOHN, key=OTHER, preferred_name=f"other {number}")
            await service.until(lambda: service.values(JOHN, OTHER)[0]["preferred_name"] == "other 19")
            await service.until(lambda: any("backs off" in each["event"] for each in logs))
            if not heals:
                async with asyncio.timeout(15):
                    while f"The stored {part}" not in (await database.read(reason_of_status, account.id)):
                        pass
                token = await database.write(add_token)
                base = f"/api/accounts/{account.id}"
                put = await service.client.put(
                    f"{base}/mapping",
                    json={"based_on": 1, "mapping": {"rules": []}, "allow_problems": True},
                    headers={"Authorization": f"Bearer {token}"},
                    auth=httpx.Auth(),
                )
                assert put.status_code == 200, put.text
            await service.until(lambda: service.values(JOHN)[0]["preferred_name"] == "second", seconds=30)
    await database.close()

    said = [each for each in logs if part in str(each.get("reason")) and each["log_level"] != "debug"]
    assert answer.status_code == 202
    assert 1 <= len(said) <= 2, said  # the worker and the remapper, each once


async def test_unreadable_profile_stops_no_preview_and_no_coverage(tmp_path: Path, database_url: str) -> None:
    """Preview and coverage leave a profile out whose traits cannot be read, and count the others."""
    database = Database(database_url)
    async with running(settings(tmp_path, database_url=database_url, role="receive")) as service:
        for name in ("ann", "bob", "eve"):
            await service.identify(f"{name}@example.com", preferred_name=name)
        account = await database.read(account_of, KEY)

        def damage(connection: Connection) -> None:
            spoilt = profiles.c.email == "bob@example.com"
            connection.execute(update(profiles).where(spoilt).values(traits='{"preferred_name": 5'))

        await database.write(damage)
        rules = Rules.model_validate({"rules": [{"property": "preferred_name", "trait": "nickname"}]})
        found = await preview(database, account.id, rules, reserve=0.1, now=NEW_YEAR)
        counted, people = await coverage(database, account.id, NEW_YEAR)
        async with operator(service, await database.write(add_token)) as api:
            listed = await api.get("profiles")
            shown = await api.get("coverage")
    await database.close()

    assert (found.looked_at, found.changed, found.profiles) == (2, 3, 3)  # changed is scaled up
    assert (counted.profiles, people) == (2, 3)
    assert (listed.status_code, shown.status_code) == (200, 200), (listed.text, shown.text)
    assert json.dumps(listed.json()).count("@example.com") >= 2
