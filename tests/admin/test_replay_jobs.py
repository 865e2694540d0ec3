"""Tests of replays in the background."""

import asyncio
from collections.abc import AsyncIterator, Iterable

import pytest
from sqlalchemy import Connection, text
from structlog.testing import capture_logs

from prosperstack_destination.admin import actions
from prosperstack_destination.admin.actions import ReplayJobs, ReplayProgress
from prosperstack_destination.store import accounts, activity
from prosperstack_destination.store.accounts import Account
from prosperstack_destination.store.database import Database
from support.accounts import open_account
from support.clocks import NEW_YEAR, SetClock
from support.intake import ACCOUNT, identify, take

pytestmark = pytest.mark.anyio

PEOPLE = 5


@pytest.fixture
async def account(sqlite: Database) -> Account:
    """An account with some people."""
    await sqlite.write(open_account)
    await sqlite.write(take, *(identify(f"p{number}@x.y", plan="pro") for number in range(PEOPLE)))
    found = await sqlite.read(accounts.get, ACCOUNT)
    assert found is not None
    return found


@pytest.fixture
async def woken() -> list[str]:
    """The accounts that have something to do, as they are told."""
    return []


@pytest.fixture
async def replays(sqlite: Database, clock: SetClock, woken: list[str]) -> AsyncIterator[ReplayJobs]:
    replays = ReplayJobs(sqlite, clock, woken.extend)
    yield replays
    await replays.close()


async def ended(replay: ReplayProgress) -> ReplayProgress:
    async with asyncio.timeout(10):
        while replay.finished_at is None:  # noqa: ASYNC110 -- what ends it is a task that nobody is handed
            await asyncio.sleep(0)
    return replay


async def trail(database: Database) -> list[tuple[str, object]]:
    return [(each.action, dict(each.details)) for each in await database.read(activity.recent_actions, ACCOUNT, 9)]


async def test_replay_runs_in_background(
    replays: ReplayJobs, account: Account, sqlite: Database, woken: list[str]
) -> None:
    """A replay runs in the background; a second start returns the running one."""
    assert replays.of(ACCOUNT) is None
    first = await replays.start(account, "ann")
    assert await replays.start(account, "bob") is first
    await ended(first)

    assert replays.of(ACCOUNT) == ReplayProgress(NEW_YEAR, PEOPLE, PEOPLE, NEW_YEAR)
    assert set(woken) == {ACCOUNT}
    assert await trail(sqlite) == [("replay", {"profiles": PEOPLE})]
    assert await replays.start(account, "ann") is not first


async def test_replay_is_cancelled_on_close(replays: ReplayJobs, account: Account, sqlite: Database) -> None:
    """A replay is cancelled with the service, and the audit log records it."""
    replay = await replays.start(account, "ann")
    await asyncio.sleep(0)
    await replays.close()

    assert replay.finished_at is not None
    [(action, details)] = await trail(sqlite)
    assert action == "replay"
    assert details in ({"profiles": 0, "broken_off": True}, {"profiles": PEOPLE, "broken_off": True})


async def test_failed_replay_can_be_started_again(replays: ReplayJobs, account: Account, sqlite: Database) -> None:
    """A failed replay has its reason, is in the audit log, and can be started again."""

    def hide(connection: Connection, hidden: bool) -> None:
        names = ("profiles", "hidden") if hidden else ("hidden", "profiles")
        connection.execute(text("ALTER TABLE {} RENAME TO {}".format(*names)))

    replay = await replays.start(account, "ann")
    await sqlite.write(hide, True)
    await ended(replay)
    await sqlite.write(hide, False)

    assert replay.failed
    assert await trail(sqlite) == [("replay", {"profiles": 0, "broken_off": True})]
    assert (await ended(await replays.start(account, "ann"))).failed is None


async def test_progress_follows_transactions(sqlite: Database, account: Account) -> None:
    """Progress is updated after each transaction."""
    told: list[int] = []
    await actions.replay_all(sqlite, account, "ann", NEW_YEAR, told.append)

    assert told == [PEOPLE]


async def test_unexpected_error_fails_the_replay(account: Account, sqlite: Database, clock: SetClock) -> None:
    """An unexpected error marks the replay as failed, and is logged."""

    def wake(_: Iterable[str]) -> None:
        raise ZeroDivisionError

    replays = ReplayJobs(sqlite, clock, wake)
    with capture_logs() as lines:
        replay = await ended(await replays.start(account, "ann"))
    await replays.close()

    assert replay.failed is not None
    assert [line["log_level"] for line in lines if line["event"] == "replay failed"] == ["error"]
