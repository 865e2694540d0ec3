"""What charts show, part by part."""

from itertools import pairwise

import pytest

from prosperstack_destination.admin.activity_history import Period, history
from prosperstack_destination.clock import DAY, HOUR, MINUTE
from prosperstack_destination.store import rollups
from prosperstack_destination.store.database import Database
from prosperstack_destination.store.rollups import Rollup
from support.clocks import NEW_YEAR

pytestmark = pytest.mark.anyio

NOW = NEW_YEAR + 8 * DAY + 30 * MINUTE


async def test_each_part_has_its_own(database: Database) -> None:
    """Parts are as long as they should be, up to now; quiet ones have nothing."""
    for ago, count in ((0, 1), (10 * MINUTE, 2), (20 * HOUR, 4), (6 * DAY, 8), (8 * DAY, 16)):
        await database.write(rollups.add, {"a": Rollup(accepted=count)}, NOW - ago)

    found = {period: await database.read(history, "a", period, NOW) for period in Period}

    assert {period: len(parts) for period, parts in found.items()} == {"hour": 60, "day": 96, "week": 84}
    assert {period: sum(each.accepted for each in parts) for period, parts in found.items()} == {
        "hour": 3,
        "day": 7,
        "week": 15,
    }
    assert [(60 - place, each.accepted) for place, each in enumerate(found[Period.HOUR]) if each.accepted] == [
        (11, 2),
        (1, 1),
    ]
    for parts in found.values():
        assert len({later.at - earlier.at for earlier, later in pairwise(parts)}) == 1
        assert parts[-1].at <= NOW
