"""Queues of profiles that wait for a request."""

from collections.abc import Sequence

import pytest
from sqlalchemy import Connection

from prosperstack_destination.clock import HOUR, MINUTE, SECOND
from prosperstack_destination.store import cancel_flows, profiles, queue, remote_erasures
from prosperstack_destination.store.database import Database
from prosperstack_destination.store.models import CallSource, Lane, SourceKind, Status
from prosperstack_destination.store.queue import MAX_COUNTED, QueueSizes, QueueSnapshot, RecentChanges
from prosperstack_destination.store.requeue import clamp_future_times
from prosperstack_destination.store.statements import sqlite_driver
from support.accounts import open_account
from support.clocks import NEW_YEAR
from support.intake import ACCOUNT, identify, stored, take

pytestmark = pytest.mark.anyio

NOW = NEW_YEAR
AUDIENCE = CallSource(SourceKind.AUDIENCE, "vips")
COUNTS = QueueSizes(live=2, bulk=1, unknown=2, unknown_live=1)


async def ends(
    database: Database, now: int, in_flight: Sequence[int] = (), counts: QueueSizes | None = None
) -> QueueSnapshot:
    """Return the queues as the planner sees them."""
    return (await database.read(queue.waiting, ACCOUNT, now, in_flight)).snapshot(counts or QueueSizes())


async def wait_for(database: Database, status: Status, *emails: str, source: CallSource | None = None) -> list[int]:
    """Make profiles wait, each a second younger than the one before, and return their IDs."""
    ids = []
    for number, email in enumerate(emails):
        at = NOW + number * SECOND
        await database.write(take, identify(email, at=at, received_at=at, source=source, vips=number))
        profile = await database.read(stored, email)
        await database.write(profiles.mark_waiting, [(profile, status)], at)
        ids.append(profile.id)
    return ids


async def test_snapshot_has_both_ends_of_each_queue(database: Database) -> None:
    """Live and bulk, ready and unknown have their newest and oldest profile, without those in flight."""
    await database.write(open_account)
    a, b, c = await wait_for(database, Status.READY, "a@b.c", "b@b.c", "c@b.c")
    [d] = await wait_for(database, Status.READY, "d@b.c", source=AUDIENCE)
    [e] = await wait_for(database, Status.UNKNOWN, "e@b.c")
    [f] = await wait_for(database, Status.UNKNOWN, "f@b.c", source=AUDIENCE)

    found = await ends(database, NOW + MINUTE, [c], COUNTS)

    assert found.live.newest is not None
    assert found.live.oldest is not None
    assert (found.live.newest.profile_id, found.live.oldest.profile_id, found.live.size) == (b, a, 2)
    assert found.bulk.newest == found.bulk.oldest
    assert found.bulk.oldest is not None
    assert (found.bulk.oldest.profile_id, found.bulk.oldest.lane) == (d, Lane.BULK)
    assert found.newest_unknown is not None
    assert found.oldest_unknown is not None
    assert (found.newest_unknown.profile_id, found.oldest_unknown.profile_id) == (e, f)
    assert (found.unknown, found.unknown_live, found.erasure_due) == (2, 1, False)
    assert await database.read(queue.count, ACCOUNT, NOW + MINUTE) == QueueSizes(3, 1, 2, 1)


async def test_failed_profile_waits_for_its_retry(database: Database) -> None:
    """A profile is in no queue before its retry."""
    await database.write(open_account)
    await wait_for(database, Status.READY, "a@b.c")
    await database.write(profiles.postpone, (await database.read(stored)).id, NOW + MINUTE, "it failed")

    assert await ends(database, NOW + SECOND) == QueueSnapshot()
    later = await ends(database, NOW + MINUTE)
    assert later.live.size == 1


async def test_cancel_flow_goes_first(database: Database) -> None:
    """A prioritized profile with pending changes goes before all others; one without is unchanged."""
    await database.write(open_account)
    [ready] = await wait_for(database, Status.READY, "a@b.c", source=AUDIENCE)
    await wait_for(database, Status.READY, "b@b.c")
    await database.write(profiles.settle, await database.read(stored, "b@b.c"), Status.IN_SYNC)

    people = {(ACCOUNT, "a@b.c"): NOW, (ACCOUNT, "b@b.c"): NOW}
    assert await database.write(cancel_flows.prioritize, people) == {ACCOUNT}
    hastened = await database.read(stored)
    assert hastened.status is Status.PENDING
    await database.write(profiles.mark_waiting, [(hastened, Status.READY)], NOW)

    found = await ends(database, NOW)
    assert found.cancelling.newest is not None
    assert found.cancelling.newest.profile_id == ready


async def test_live_change_moves_a_bulk_profile(database: Database) -> None:
    """The more urgent of two pending changes decides the lane; once settled, the next change does."""
    await database.write(open_account)
    await database.write(take, identify(source=AUDIENCE, vips=True))
    lanes = [(await database.read(stored)).lane]
    await database.write(take, identify(at=NOW + 1, plan="pro"))
    lanes.append((await database.read(stored)).lane)
    await database.write(take, identify(at=NOW + 2, source=AUDIENCE, vips=False))
    lanes.append((await database.read(stored)).lane)
    await database.write(profiles.settle, await database.read(stored), Status.IN_SYNC)
    await database.write(take, identify(at=NOW + 3, source=AUDIENCE, vips=True))
    lanes.append((await database.read(stored)).lane)

    assert lanes == [Lane.BULK, Lane.LIVE, Lane.LIVE, Lane.BULK]


async def test_recent_changes_are_counted(database: Database) -> None:
    """Changes after a time are counted, and those of profiles that waited already."""
    await database.write(open_account)
    await wait_for(database, Status.READY, "a@b.c", "b@b.c")
    again = NOW + MINUTE
    await database.write(take, identify("a@b.c", at=again, received_at=again, vips="changed"))
    await database.write(profiles.mark_waiting, [(await database.read(stored), Status.READY)], again)

    assert await database.read(queue.recent, ACCOUNT, Lane.LIVE, NOW - 1) == RecentChanges(2, repeats=1)
    assert await database.read(queue.recent, ACCOUNT, Lane.LIVE, NOW + SECOND) == RecentChanges(1, repeats=1)


async def test_remote_erasure_is_queued(database: Database) -> None:
    """The subscriber of an erased person is in a queue."""
    await database.write(open_account)
    await database.write(remote_erasures.add, ACCOUNT, {"s1": ["plan"]}, delete_subscriber=False, now=NOW)

    assert (await ends(database, NOW)).erasure_due


def explained(connection: Connection) -> list[str]:
    """Return SQLite's plan for the query before each request."""
    driver = sqlite_driver(connection)
    assert driver is not None
    statements: list[str] = []
    driver.set_trace_callback(statements.append)
    queue.ENDS.rows(connection, {"account": ACCOUNT, "now": NOW, "as_of": NOW, "most": 2, "in_flight": [1, 2]})
    driver.set_trace_callback(None)
    return [row[3] for row in driver.execute(f"EXPLAIN QUERY PLAN {statements[0]}")]


async def test_queue_queries_use_the_index(sqlite: Database) -> None:
    """Each query reads the end of a queue by an index, without sorting, for any length."""
    steps = await sqlite.read(explained)

    looks = [step for step in steps if "ix_profiles_due" in step and step.startswith("SEARCH")]
    assert len(looks) == 18
    assert not [step for step in steps if "SCAN profiles" in step or "TEMP B-TREE" in step]
    assert MAX_COUNTED <= 10_000


async def test_clock_set_back_leaves_nothing_in_the_future(database: Database) -> None:
    """Work due by the old time is due by the new one, and observations count from now."""
    await database.write(open_account)
    await wait_for(database, Status.READY, "a@b.c")
    await database.write(take, identify("b@b.c"))
    await database.write(profiles.mark_looked_up, await database.read(stored), NOW + SECOND, NOW)
    back = NOW - HOUR
    assert await database.read(profiles.due, ACCOUNT, back, None, 10) == []

    await database.write(clamp_future_times, back)

    due = await database.read(profiles.due, ACCOUNT, back, None, 10)
    assert {(each.email, each.changed_at, each.looked_up_at) for each in due} == {
        ("a@b.c", back, None),
        ("b@b.c", back, None),
    }
