"""Tests of the overview of an account."""

from itertools import pairwise

import pytest
from sqlalchemy import Connection, select

from prosperstack_destination.admin.overview import (
    Overview,
    Period,
    UsageSummary,
    history,
    overview,
    total_of_backlog,
)
from prosperstack_destination.clock import DAY, HOUR, MINUTE
from prosperstack_destination.store import accounts, mappings, rollups
from prosperstack_destination.store.accounts import AccountStatus
from prosperstack_destination.store.database import Database
from prosperstack_destination.store.models import Status
from prosperstack_destination.store.rollups import Rollup
from prosperstack_destination.store.tables import profiles
from support.accounts import open_account
from support.clocks import NEW_YEAR
from support.intake import ACCOUNT, identify, settle_all, take

pytestmark = pytest.mark.anyio

NOW = NEW_YEAR + 5 * HOUR


def look(connection: Connection) -> Overview:
    account = accounts.get(connection, ACCOUNT)
    assert account is not None
    return overview(connection, account, 0.1, NOW)


async def test_idle_account_has_no_backlog(database: Database) -> None:
    """An account without activity has no backlog and no figures."""
    await database.write(open_account)

    found = await database.read(look)

    assert (found.backlog, found.progress, found.hour.saved, found.hour.within(0.5)) == (0, None, 0, None)


async def test_backlog_has_progress_and_estimate(database: Database) -> None:
    """A backlog has the part that is done, the part that is left, and an estimate."""
    await database.write(open_account)
    await database.write(take, *[identify(f"{number}@b.c", plan="pro") for number in range(30)])
    for minute, settled, backlog in ((200, 7, 0), (4, 50, 80), (3, 10, 70), (1, 10, 0), (0, 20, 0)):
        new = Rollup(accepted=1, delivered=settled, requests=settled, backlog=backlog)
        await database.write(rollups.add, {ACCOUNT: new}, NOW - minute * MINUTE)

    found = await database.read(look)

    assert found.progress is not None
    assert (found.progress.done, found.progress.left, found.progress.part) == (90, 30, 0.75)
    assert found.progress.begun_at == NOW - 4 * MINUTE
    assert found.progress.eta is not None
    assert (found.hour.totals.settled, found.day.totals.settled) == (90, 97)


async def test_stopped_account_has_no_estimate(database: Database) -> None:
    """A backlog has no estimate while the key is refused."""
    await database.write(open_account)
    await database.write(take, identify("a@b.c", plan="pro"))
    await database.write(accounts.set_status, ACCOUNT, AccountStatus.KEY_REFUSED, reason="401")

    found = await database.read(look)

    assert found.progress is not None
    assert (found.progress.left, found.progress.eta) == (1, None)


async def test_remap_is_not_up_to_date(database: Database) -> None:
    """During a remap the account is not up to date; afterwards the waiting people are counted again."""
    await database.write(open_account)
    await database.write(take, identify("a@b.c", plan="pro"))
    await database.write(settle_all)
    await database.write(mappings.begin_remap, ACCOUNT, NOW)

    def counted_before(connection: Connection) -> Overview:
        account = accounts.get(connection, ACCOUNT)
        assert account is not None
        return overview(connection, account, 0.1, NOW, {})

    going = await database.read(counted_before)
    assert going.remap is not None
    assert (going.remap.done, going.remap.total, going.backlog) == (0, 1, 0)

    def found_to_differ(connection: Connection) -> None:
        run = mappings.latest_remap(connection, ACCOUNT)
        assert run is not None
        assert mappings.advance_remap(connection, run, after="a@b.c", done=1, changed=1, finished_at=NOW)
        mappings.mark_profiles_due(connection, list(connection.scalars(select(profiles.c.id))), NOW)

    await database.write(found_to_differ)
    done = await database.read(counted_before)

    assert (done.remap, done.waiting) == (None, {Status.PENDING: 1})


def test_gap_of_three_minutes_begins_a_new_backlog() -> None:
    """A gap of one minute continues a backlog, three minutes end it; a few waiting people are no backlog."""
    rows = [Rollup(NOW - minutes * MINUTE, delivered=1, backlog=backlog) for minutes, backlog in _SEEN]

    assert total_of_backlog(rows, 50, NOW) == Rollup(NOW - 5 * MINUTE, delivered=4, backlog=90)
    assert total_of_backlog(rows, 5_000, NOW) == Rollup(NOW - 2 * MINUTE, delivered=2, backlog=90)
    assert total_of_backlog(rows[:3], 50, NOW) == Rollup()


#: Minutes ago, and how many were seen to wait.
_SEEN = [(20, 99), (12, 2), (9, 3), (5, 30), (3, 0), (2, 90), (0, 1)]


def test_forwarder_spends_a_lookup_and_an_update() -> None:
    """A forwarder spends a lookup for each settled person and an update for each subscriber."""
    spent = UsageSummary(Rollup(accepted=100, delivered=10, unchanged=30, unmatched=10, requests=25))

    assert (spent.naive, spent.saved) == (90, 65)
    assert UsageSummary(Rollup(accepted=18_000, requests=25)).saved == 0  # nobody is settled yet
    assert UsageSummary(Rollup(accepted=1, requests=600)).saved == 0


pytestmark = pytest.mark.anyio

NOW = NEW_YEAR + 8 * DAY + 30 * MINUTE


async def test_history_has_a_row_for_each_part(database: Database) -> None:
    """The history has a row for each part of a period up to now, with zeros for quiet parts."""
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
