"""Sweep through all subscribers."""

import pytest

from prosperstack_destination.clock import HOUR, MINUTE
from prosperstack_destination.store import accounts, listing_state, profiles, queue
from prosperstack_destination.store.database import Database
from prosperstack_destination.store.listing_state import FRESH_FOR, SWEEP_AFTER, Sweep
from prosperstack_destination.store.models import Status
from prosperstack_destination.store.queue import MAX_REFRESHES
from prosperstack_destination.store.subscribers import SubscriberSnapshot
from support.accounts import open_account
from support.clocks import NEW_YEAR
from support.intake import ACCOUNT, apply_values, identify, stored, take

pytestmark = pytest.mark.anyio

NOW = NEW_YEAR
DUE = NOW + SWEEP_AFTER


async def list_all(database: Database, *seen: SubscriberSnapshot) -> None:
    """Store a full listing."""
    await database.write(open_account)
    await database.write(listing_state.begin, ACCOUNT, NOW)
    await database.write(
        listing_state.store_page, ACCOUNT, seen, None, server_time=NOW, now=NOW, refresh_after=HOUR
    )


async def page(database: Database, *seen: SubscriberSnapshot, cursor: str | None = None, at: int = DUE) -> int:
    """Store a page of the sweep with the next cursor, and return the number of changes."""
    sweep = await database.write(listing_state.begin_sweep_page, ACCOUNT, at, at + MINUTE)
    return await database.write(
        listing_state.store_sweep_page, ACCOUNT, sweep, seen, cursor, requested_at=at, now=at
    )


async def test_sweep_repeats(database: Database) -> None:
    """A sweep begins a day after the full listing, continues at its cursor, and stores its start at its end."""
    await list_all(database)
    listed = await database.read(listing_state.read, ACCOUNT)
    await page(database, cursor="two")
    under_way = await database.read(listing_state.read, ACCOUNT)
    going_on = await database.write(listing_state.begin_sweep_page, ACCOUNT, DUE + MINUTE, DUE + HOUR)
    await database.write(listing_state.store_sweep_page, ACCOUNT, going_on, [], None, requested_at=DUE, now=DUE)
    swept = await database.read(listing_state.read, ACCOUNT)

    assert (listed.swept_at, listed.sweep_at) == (NOW, DUE)
    assert (under_way.swept_at, under_way.sweep_at, under_way.sweep_cursor) == (NOW, DUE + MINUTE, "two")
    assert going_on == Sweep(DUE, "two")
    assert (swept.swept_at, swept.sweep_at) == (DUE, DUE + HOUR)
    assert await database.write(listing_state.begin_sweep_page, ACCOUNT, DUE + HOUR, DUE + 2 * HOUR) == Sweep(
        DUE + HOUR, None
    )


async def test_sweep_with_an_expired_cursor_restarts(database: Database) -> None:
    """The pages of a sweep whose cursor is refused do not count."""
    await list_all(database)
    await page(database, cursor="two")
    await database.write(listing_state.restart_sweep, ACCOUNT)

    assert await database.write(listing_state.begin_sweep_page, ACCOUNT, DUE + HOUR, DUE + HOUR) == Sweep(
        DUE + HOUR, None
    )


async def test_sweep_finds_missing_subscribers(database: Database) -> None:
    """An unknown subscriber, or one with another email, makes the concerned profiles due."""
    await list_all(database, SubscriberSnapshot("s1", "a@b.c", {}))
    await database.write(take, identify("new@b.c", plan="pro"))
    await database.write(profiles.settle, await database.read(stored, "new@b.c"), Status.UNMATCHED)

    assert await page(database, SubscriberSnapshot("s1", "new@b.c", {}), SubscriberSnapshot("s2", "b@b.c", {})) == 3
    assert (await database.read(stored, "new@b.c")).status is Status.PENDING


async def test_sweep_keeps_recent_observations(database: Database) -> None:
    """A page that an update overtook does not undo its observation."""
    await list_all(database, SubscriberSnapshot("s1", "a@b.c", {"plan": "free"}))
    await database.write(
        apply_values, ACCOUNT, "s1", {"plan": "pro"}, observed={"plan": "pro"}, now=DUE - FRESH_FOR + 1
    )
    old = SubscriberSnapshot("s1", "a@b.c", {"plan": "free"})

    assert await page(database, old) == 0
    assert await page(database, old, at=DUE + 1) == 1


async def test_due_sweep_is_work(database: Database) -> None:
    """An account needs work when a page of its sweep is due, and not before the next one."""
    await list_all(database)
    await database.write(accounts.set_catalog, ACCOUNT, "[]", DUE)
    await database.write(listing_state.begin, ACCOUNT, DUE)
    await database.write(listing_state.store_page, ACCOUNT, [], None, server_time=DUE, now=DUE, refresh_after=HOUR)

    assert await database.read(queue.accounts_with_work, DUE - 1) == []
    assert await database.read(queue.accounts_with_work, DUE) == [ACCOUNT]
    await page(database)
    assert await database.read(queue.accounts_with_work, DUE) == []


async def test_due_sweeps_are_limited(database: Database) -> None:
    """Of many accounts with a due sweep a random few need work; of those with a pending call all."""
    ids = [f"acct_{number}" for number in range(1, 3 * MAX_REFRESHES + 1)]
    for account_id in ids:
        await database.write(open_account, account_id)
        await database.write(accounts.set_catalog, account_id, "[]", DUE)
        await database.write(listing_state.begin, account_id, DUE)
        await database.write(listing_state.begin_sweep_page, account_id, DUE, DUE)

    looked_at = [set(await database.read(queue.accounts_with_work, DUE)) for _ in range(50)]
    assert {len(each) for each in looked_at} == {MAX_REFRESHES}
    assert set().union(*looked_at) == set(ids)

    for account_id in ids:
        await database.write(take, identify(account=account_id))
    assert set(await database.read(queue.accounts_with_work, NOW)) == set(ids)
