"""Tests of the coverage that is counted in the background."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from prosperstack_destination.account_mapping import dump_catalog
from prosperstack_destination.admin.coverage_cache import (
    COVERAGE_TTL,
    MAX_SNAPSHOTS,
    CoverageCache,
    CoverageSnapshot,
)
from prosperstack_destination.mapping.catalog import Catalog, Property, PropertyType
from prosperstack_destination.store import accounts
from prosperstack_destination.store.database import Database
from support.accounts import open_account
from support.clocks import NEW_YEAR, SetClock
from support.intake import identify, take

pytestmark = pytest.mark.anyio

CATALOG = Catalog([Property("plan", "Plan", PropertyType.TEXT)])


@pytest.fixture
async def counting(sqlite: Database, clock: SetClock) -> AsyncIterator[CoverageCache]:
    """Counts accounts; ``acct_1`` has one person and one property."""
    await sqlite.write(open_account)
    await sqlite.write(accounts.set_catalog, "acct_1", dump_catalog(CATALOG), NEW_YEAR)
    await sqlite.write(take, identify(plan="pro", other=1))
    counting = CoverageCache(sqlite, clock, asyncio.Lock())
    yield counting
    await counting.close()


async def settled(counting: CoverageCache, version: int = 0, account_id: str = "acct_1") -> CoverageSnapshot | None:
    """What is counted in the end."""
    async with asyncio.timeout(10):
        while True:
            found, under_way = counting.latest(account_id, version)
            if not under_way:
                return found
            await asyncio.sleep(0)


async def test_count_runs_in_background(counting: CoverageCache, sqlite: Database, clock: SetClock) -> None:
    """A count runs in the background; its snapshot stays until a newer one replaces it."""
    assert counting.latest("acct_1", 0) == (None, True)
    first = await settled(counting)
    assert first is not None
    assert (first.version, first.at, first.profiles, first.counted) == (0, NEW_YEAR, 1, 1)
    assert [(each.property, each.filled) for each in first.properties] == [("plan", 1)]
    assert [each.trait for each in first.traits] == ["other", "plan"]

    await sqlite.write(take, identify("b@c.d", plan="pro"))
    assert counting.latest("acct_1", 0) == (first, False)
    clock.now += COVERAGE_TTL
    assert counting.latest("acct_1", 0) == (first, True)
    second = await settled(counting)
    assert second is not None
    assert (second.profiles, second.at) == (2, NEW_YEAR + COVERAGE_TTL)


async def test_other_mapping_version_is_counted_again(counting: CoverageCache) -> None:
    """A snapshot of another mapping version is counted again at once."""
    first = await settled(counting)

    assert counting.latest("acct_1", 1) == (first, True)
    second = await settled(counting, 1)
    assert second is not None
    assert second.version == 1


async def test_count_waits_for_other_scans(sqlite: Database, clock: SetClock) -> None:
    """A count waits for another scan, and closing cancels it."""
    await sqlite.write(open_account)
    scanning = asyncio.Lock()
    counting = CoverageCache(sqlite, clock, scanning)
    async with scanning:
        for _ in range(3):
            assert counting.latest("acct_1", 0) == (None, True)
            await asyncio.sleep(0)
        await counting.close()
        assert scanning.locked()
    assert counting.latest("acct_1", 0) == (None, True)
    await counting.close()


async def test_missing_account_has_no_snapshot(counting: CoverageCache) -> None:
    """A missing account has no snapshot; the next call starts another count."""
    assert await settled_once(counting, "gone") is None
    assert counting.latest("gone", 0) == (None, True)


async def settled_once(counting: CoverageCache, account_id: str) -> CoverageSnapshot | None:
    """What is known once the first count has ended, however it did."""
    found, _ = counting.latest(account_id, 0)
    async with asyncio.timeout(10):
        while account_id in counting.running:  # noqa: ASYNC110 -- it ends without a word
            await asyncio.sleep(0)
    return found


async def test_oldest_snapshot_is_dropped(counting: CoverageCache, sqlite: Database) -> None:
    """The oldest snapshot is dropped when the cache is full."""
    names = [f"acct_{number}" for number in range(2, MAX_SNAPSHOTS + 3)]
    for name in names:
        await sqlite.write(open_account, name)
        await settled(counting, account_id=name)

    assert counting.latest(names[0], 0) == (None, True)
    assert counting.latest(names[-1], 0)[0] is not None
