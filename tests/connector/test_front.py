"""Who began to cancel moves to the front."""

import asyncio
from pathlib import Path

import pytest

from prosperstack_destination.connector.front import Front
from prosperstack_destination.state import cancel_flows, profiles
from prosperstack_destination.state.database import Database
from prosperstack_destination.state.profile import Status
from support.accounts import open_account
from support.clocks import NEW_YEAR, SetClock
from support.intake import ACCOUNT, identify, stored, take

pytestmark = pytest.mark.anyio


async def test_it_wakes_the_reconciler(database: Database, clock: SetClock) -> None:
    """Those who have something pending are due at once; accounts where nobody has are left alone."""
    await database.write(open_account)
    await database.write(open_account, "acct_2")
    await database.write(take, identify("a@b.c"), identify("settled@b.c", account="acct_2"))
    settled = await database.read(stored, "settled@b.c", "acct_2")
    await database.write(profiles.settle, settled, Status.IN_SYNC)
    woken: list[set[str]] = []
    front = Front(database, woken.append, clock)
    front.begins(ACCOUNT, "a@b.c")
    front.begins("acct_2", "settled@b.c")
    front.begins(ACCOUNT, "stranger@b.c")
    front.start()
    await front.close()

    assert woken == [{ACCOUNT}]
    [first] = await database.read(cancel_flows.due, ACCOUNT, clock(), 10)
    assert first.email == "a@b.c"


async def test_a_database_that_is_away(tmp_path: Path, clock: SetClock) -> None:
    """While the database takes nothing, people wait to be noted, and stopping waits for nobody."""
    database = Database(f"sqlite:///{tmp_path / 'none' / 'test.db'}")
    front = Front(database, lambda _: None, clock)
    front.start()
    front.begins(ACCOUNT, "a@b.c")
    async with asyncio.timeout(5):
        await front.close()
    await database.close()


async def test_those_who_began_last_come_first(database: Database) -> None:
    """Of those who began to cancel within the hour and are due, who began last comes first; nobody else comes."""
    await database.write(open_account)
    await database.write(open_account, "acct_2")
    people = ["long.ago@b.c", "first@b.c", "last@b.c", "settled@b.c"]
    await database.write(take, *(identify(email) for email in [*people, "other@b.c"]))
    await database.write(take, identify("first@b.c", account="acct_2"))
    began = [NEW_YEAR - 2 * cancel_flows.FLOW_LASTS, NEW_YEAR - 2, NEW_YEAR - 1, NEW_YEAR]
    await database.write(
        cancel_flows.begin, {(ACCOUNT, email): at for email, at in zip(people, began, strict=True)}
    )
    await database.write(profiles.settle, await database.read(stored, "settled@b.c"), Status.IN_SYNC)

    found = await database.read(cancel_flows.due, ACCOUNT, NEW_YEAR, 10)
    assert [each.email for each in found] == ["last@b.c", "first@b.c"]


async def test_whoever_waits_is_due_at_once(database: Database) -> None:
    """Somebody who was not found, and is to be looked up much later, is looked up when they begin to cancel."""
    await database.write(open_account)
    await database.write(take, identify("a@b.c"))
    profile = await database.read(stored)
    await database.write(profiles.settle, profile, Status.UNMATCHED, look_again_at=NEW_YEAR + 10**12)
    changed = await database.write(cancel_flows.begin, {(ACCOUNT, "a@b.c"): NEW_YEAR + 5})

    assert changed == {ACCOUNT}
    assert [each.email for each in await database.read(profiles.due, ACCOUNT, NEW_YEAR + 5, 10)] == ["a@b.c"]
