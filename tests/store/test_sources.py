"""Sources of calls."""

import pytest

from prosperstack_destination.clock import DAY
from prosperstack_destination.store import profiles, retention, segment_connections, sources
from prosperstack_destination.store.database import Database
from prosperstack_destination.store.models import CallSource, Delete, Identify, SourceKind, Status
from prosperstack_destination.store.segment_connections import ConnectionKind, Region, SegmentConnection
from support.accounts import open_account
from support.clocks import NEW_YEAR
from support.intake import identify, stored, take

pytestmark = pytest.mark.anyio


def connection(account_id: str, source_id: str) -> SegmentConnection:
    return SegmentConnection(
        f"conn_{account_id}_{source_id}",
        account_id,
        Region.US,
        "ws_1",
        "Acme",
        source_id,
        source_id,
        "dest_1",
        ConnectionKind.WEBHOOK,
        "sec_1",
        NEW_YEAR,
    )


async def test_unconnected_sources_are_listed(database: Database) -> None:
    """Connected sources are left out, except audiences of the same name; the latest sender is first."""
    for account in ("acct_1", "acct_2"):
        await database.write(open_account, account)
    came = [
        ("acct_1", SourceKind.SOURCE, "connected"),
        ("acct_1", SourceKind.SOURCE, "elsewhere"),
        ("acct_1", SourceKind.AUDIENCE, "connected"),
        ("acct_1", SourceKind.SOURCE, "theirs"),
        ("acct_2", SourceKind.SOURCE, "not_mine"),
    ]
    for number, (account, kind, key) in enumerate(came):
        at = NEW_YEAR + number
        await database.write(take, identify(account=account, source=CallSource(kind, key), received_at=at))
    await database.write(segment_connections.add, connection("acct_1", "connected"))
    await database.write(segment_connections.add, connection("acct_2", "theirs"))

    everything = await database.read(sources.unconnected, "acct_1", 10)
    newest = await database.read(sources.unconnected, "acct_1", 2)
    assert [(each.kind.value, each.key) for each in everything] == [
        ("source", "theirs"),
        ("audience", "connected"),
        ("source", "elsewhere"),
    ]
    assert newest == everything[:2]


POWER_USERS = CallSource(SourceKind.AUDIENCE, "power_users")


@pytest.mark.parametrize("at_once", [True, False])
async def test_held_member_is_counted_once_known(database: Database, at_once: bool) -> None:
    """A held call of an audience counts its person once the email is known; the person may leave again."""
    await database.write(open_account)
    entered = identify(None, user_id="u-1", source=POWER_USERS, at=NEW_YEAR, power_users=True)
    again = identify("a@b.c", source=POWER_USERS, at=NEW_YEAR + 1, power_users=True)
    known = identify("a@b.c", user_id="u-1", at=NEW_YEAR + 2)
    left = identify(None, user_id="u-1", source=POWER_USERS, at=NEW_YEAR + 3, power_users=False)

    async def members(*calls: Identify) -> int:
        for together in [calls] if at_once else [[call] for call in calls]:
            await database.write(take, *together)
        [audience] = [
            each for each in await database.read(sources.of_account, "acct_1") if each.key == "power_users"
        ]
        return audience.members

    assert await members(entered, known) == 1
    assert await members(again) == 1
    assert await members(left) == 0


async def test_held_member_is_not_counted_twice(database: Database) -> None:
    """Engage sends each person with and without the email, in either order."""
    await database.write(open_account)
    for call in (
        identify(None, user_id="u-1", source=POWER_USERS, at=NEW_YEAR, power_users=True),
        identify("a@b.c", source=POWER_USERS, at=NEW_YEAR + 1, power_users=True),
        identify("a@b.c", user_id="u-1", at=NEW_YEAR + 2),
    ):
        await database.write(take, call)

    [audience] = [each for each in await database.read(sources.of_account, "acct_1") if each.key == "power_users"]
    assert (audience.calls, audience.members) == (2, 1)


async def test_erased_person_is_in_no_audience(database: Database) -> None:
    """A person erased or deleted by retention leaves the audience; one who returns is in it once."""
    await database.write(open_account)
    for number in range(3):
        came = identify(f"{number}@b.c", user_id=f"u-{number}", source=POWER_USERS, power_users=True)
        await database.write(take, came)

    async def members() -> int:
        [audience] = [
            each for each in await database.read(sources.of_account, "acct_1") if each.key == "power_users"
        ]
        return audience.members

    before = await members()
    await database.write(take, Delete("acct_1", "u-0", NEW_YEAR, NEW_YEAR))
    deleted = await members()
    again = identify("0@b.c", source=POWER_USERS, at=NEW_YEAR + 1, received_at=NEW_YEAR + 1, power_users=True)
    await database.write(take, again)
    back = await members()
    await database.write(profiles.settle, await database.read(stored, "1@b.c"), Status.IN_SYNC)
    await database.write(retention.delete_inactive, 0, NEW_YEAR + DAY, NEW_YEAR + DAY)

    assert (before, deleted, back, await members()) == (3, 2, 3, 2)
