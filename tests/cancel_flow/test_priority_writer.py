"""Who began to cancel moves to the front."""

import asyncio
from pathlib import Path

import pytest

from prosperstack_destination.cancel_flow.priority_writer import PriorityWriter
from prosperstack_destination.store import cancel_flows, profiles
from prosperstack_destination.store.database import Database
from prosperstack_destination.store.models import Lane, Status
from support.accounts import open_account
from support.clocks import NEW_YEAR, SetClock
from support.intake import ACCOUNT, identify, stored, take

pytestmark = pytest.mark.anyio


async def test_pending_people_wake_the_reconciler(database: Database, clock: SetClock) -> None:
    """People with pending changes are due at once, and only their accounts are woken."""
    await database.write(open_account)
    await database.write(open_account, "acct_2")
    await database.write(take, identify("a@b.c"), identify("settled@b.c", account="acct_2"))
    settled = await database.read(stored, "settled@b.c", "acct_2")
    await database.write(profiles.settle, settled, Status.IN_SYNC)
    woken: list[set[str]] = []
    front = PriorityWriter(database, woken.append, clock)
    front.prioritize(ACCOUNT, "a@b.c")
    front.prioritize("acct_2", "settled@b.c")
    front.prioritize(ACCOUNT, "stranger@b.c")
    front.start()
    await front.close()

    assert woken == [{ACCOUNT}]
    [first] = await database.read(profiles.due, ACCOUNT, clock(), None, 10)
    assert (first.email, first.lane) == ("a@b.c", Lane.CANCELLING)


async def test_unavailable_database_keeps_the_queue(tmp_path: Path, clock: SetClock) -> None:
    """While the database is unavailable the queue stays, and closing does not wait."""
    database = Database(f"sqlite:///{tmp_path / 'none' / 'test.db'}")
    front = PriorityWriter(database, lambda _: None, clock)
    front.start()
    front.prioritize(ACCOUNT, "a@b.c")
    async with asyncio.timeout(5):
        await front.close()
    await database.close()


async def test_unmatched_person_is_due_at_once(database: Database) -> None:
    """An unmatched person is looked up at once when they start to cancel."""
    await database.write(open_account)
    await database.write(take, identify("a@b.c"))
    profile = await database.read(stored)
    await database.write(profiles.settle, profile, Status.UNMATCHED, due_at=NEW_YEAR + 10**12)
    changed = await database.write(cancel_flows.prioritize, {(ACCOUNT, "a@b.c"): NEW_YEAR + 5})

    assert changed == {ACCOUNT}
    assert [each.email for each in await database.read(profiles.due, ACCOUNT, NEW_YEAR + 5, None, 10)] == ["a@b.c"]
