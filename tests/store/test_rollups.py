"""Counts per minute and per hour."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prosperstack_destination.clock import DAY, HOUR, MINUTE
from prosperstack_destination.store import rollups
from prosperstack_destination.store.database import Database
from prosperstack_destination.store.rollups import DELIVERY_TIME_BOUNDS, RETENTION, Bucket, Rollup, percentile
from support.clocks import NEW_YEAR

pytestmark = pytest.mark.anyio


def took(*seconds: float) -> Rollup:
    tally = Rollup()
    for each in seconds:
        tally.record_delivery(each)
    return tally


async def test_counts_add_up(database: Database) -> None:
    """Each minute and each hour has the sum of its counts and the largest backlog."""
    for seconds, backlog in ((0, 5), (10, 7), (70, 0)):
        new = took(1.0)
        new.accepted, new.delivered, new.backlog = 2, 1, backlog
        await database.write(rollups.add, {"a": new, "b": Rollup(refused=1)}, NEW_YEAR + seconds * 1_000_000)

    minutes = await database.read(rollups.of_account, "a", Bucket.MINUTE, NEW_YEAR)
    [hour] = await database.read(rollups.of_account, "a", Bucket.HOUR, NEW_YEAR)

    assert [(each.at, each.accepted, each.backlog) for each in minutes] == [
        (NEW_YEAR, 4, 7),
        (NEW_YEAR + MINUTE, 2, 0),
    ]
    assert (hour.accepted, hour.settled, hour.backlog, sum(hour.freshness)) == (6, 3, 7, 3)
    assert [each.refused for each in await database.read(rollups.of_account, "b", Bucket.HOUR, 0)] == [3]


async def test_old_rollups_expire(database: Database) -> None:
    """Minutes are kept for a day, hours for longer."""
    await database.write(rollups.add, {"a": Rollup(accepted=1)}, NEW_YEAR)

    assert await database.write(rollups.expire, NEW_YEAR + DAY) == 0
    assert await database.write(rollups.expire, NEW_YEAR + DAY + 2 * HOUR) == 1
    assert len(await database.read(rollups.of_account, "a", Bucket.HOUR, 0)) == 1
    assert await database.write(rollups.expire, NEW_YEAR + RETENTION[Bucket.HOUR] + HOUR) == 1


async def test_backlog_alone_makes_a_row(database: Database) -> None:
    """A minute with a backlog has a row, so that charts have no gap."""
    await database.write(rollups.record_backlogs, {"a": 9}, NEW_YEAR)

    [row] = await database.read(rollups.of_account, "a", Bucket.MINUTE, 0)
    assert (row.backlog, row.settled) == (9, 0)


def test_no_percentile_without_deliveries() -> None:
    """Without a delivery there is no percentile."""
    assert percentile([], 0.5) is None
    assert percentile([0, 0], 0.95) is None


@given(st.lists(st.floats(0, DELIVERY_TIME_BOUNDS[-1]), min_size=1), st.floats(0.01, 1))
def test_percentile_is_within_its_bounds(seconds: list[float], part: float) -> None:
    """A percentile is between the bounds of the true one."""
    found = percentile(took(*seconds).freshness, part)
    true = sorted(seconds)[max(-(-len(seconds) * part // 1), 1).__int__() - 1]
    bounds = [0.0, *DELIVERY_TIME_BOUNDS]
    place = next(place for place, bound in enumerate(bounds) if true <= bound)

    assert found is not None
    assert bounds[max(place - 1, 0)] <= found <= bounds[max(place, 1)]


@given(st.lists(st.floats(0, 1e6)), st.lists(st.floats(0, 1e6)))
def test_rollups_add_in_any_order(first: list[float], second: list[float]) -> None:
    """The rollups of two replicas add up to the rollup of both."""
    assert (took(*first) + took(*second)).freshness == took(*second, *first).freshness
