"""Deletion of old data."""

import pytest
from sqlalchemy import Connection, select

from prosperstack_destination.clock import DAY
from prosperstack_destination.reconcile.retention_job import RetentionJob, RetentionPolicy
from prosperstack_destination.store import activity, profiles, retention, tables
from prosperstack_destination.store import subscribers as subscriber_rows
from prosperstack_destination.store.database import Database
from prosperstack_destination.store.models import Status
from prosperstack_destination.store.requeue import clamp_future_times
from prosperstack_destination.store.subscribers import SubscriberSnapshot
from prosperstack_destination.store.tables import audit, identities, subscribers
from support.accounts import open_account
from support.clocks import NEW_YEAR, SetClock
from support.intake import ACCOUNT, apply_values, identify, stored, take

pytestmark = pytest.mark.anyio

NOW = NEW_YEAR


def everything(connection: Connection) -> tuple[set[str], set[str], set[str]]:
    """Return profiles, IDs and the subscribers with applied values."""
    emails = set(connection.scalars(select(tables.profiles.c.email)))
    return (
        emails,
        set(connection.scalars(select(identities.c.external_id))),
        set(connection.scalars(select(subscribers.c.id).where(subscribers.c.applied != "{}"))),
    )


def retention_job(database: Database, clock: SetClock, *, days: int = 30, rows: int = 10) -> RetentionJob:
    return RetentionJob(database, RetentionPolicy(days, 100, rows, calls=rows), lambda: True, clock)


async def settled(database: Database, email: str) -> None:
    await database.write(profiles.settle, await database.read(stored, email), Status.IN_SYNC)


async def test_inactive_profiles_are_deleted(
    database: Database, clock: SetClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A profile without a call is deleted with its IDs and applied values; a repeated call keeps one."""
    monkeypatch.setattr(retention, "BATCH_ROWS", 3)
    await database.write(open_account)
    people = [f"{n}@b.c" for n in range(10)]
    for email in people:
        await database.write(take, identify(email, user_id=f"u{email}", plan="pro"))
        await database.write(
            subscriber_rows.replace_for_email, ACCOUNT, email, [SubscriberSnapshot(f"s{email}", email, {})], NOW
        )
        await database.write(apply_values, ACCOUNT, f"s{email}", {"plan": "pro"}, observed=None, now=NOW)
        if email != "9@b.c":
            await settled(database, email)
    clock.advance(20 * 86_400)
    await database.write(take, identify("0@b.c", plan="pro", received_at=clock.now, at=NOW))  # nothing new
    await database.write(take, identify("1@b.c", user_id="u2@b.c", received_at=clock.now, at=NOW + 1))
    clock.advance(15 * 86_400)

    assert await retention_job(database, clock).delete_expired(0) == 7
    left = {"0@b.c", "1@b.c", "9@b.c"}  # the last one is pending
    assert await database.read(everything) == (
        left,
        {"u0@b.c", "u1@b.c", "u2@b.c", "u9@b.c"},
        {f"s{email}" for email in left},
    )


async def test_nothing_is_deleted_without_a_limit(database: Database, clock: SetClock) -> None:
    """Without a number of days no row of any age is deleted."""
    await database.write(open_account)
    await database.write(take, identify())
    await settled(database, "a@b.c")
    clock.advance(10_000 * 86_400)

    assert await retention_job(database, clock, days=0).delete_expired(0) == 0


async def test_audit_log_is_bounded(database: Database, clock: SetClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """The audit log keeps an account's newest entries, and no old one."""
    monkeypatch.setattr(retention, "BATCH_ROWS", 4)
    for account, count, at in (("a1", 25, NOW), ("a2", 3, NOW - 101 * DAY), ("a3", 2, NOW)):
        await database.write(open_account, account)
        for n in range(count):
            await database.write(activity.record_action, account, at, actor="", action=f"{n}", details={})

    await retention_job(database, clock).delete_expired(0)

    kept = await database.read(
        lambda connection: connection.execute(select(audit.c.account_id, audit.c.action)).all()
    )
    assert sorted(kept) == sorted([("a1", f"{n}") for n in range(15, 25)] + [("a3", "0"), ("a3", "1")])


async def test_profiles_of_a_clock_ahead_are_due_now(database: Database) -> None:
    """Profiles from a clock that was ahead are due now."""
    await database.write(open_account)
    hour_ahead = NOW + 3_600_000_000
    await database.write(take, identify(plan="pro", received_at=hour_ahead), identify("x@y.z"))
    before = await database.read(profiles.due, ACCOUNT, NOW, None, 10)

    await database.write(clamp_future_times, NOW)

    assert [each.email for each in before] == ["x@y.z"]
    assert len(await database.read(profiles.due, ACCOUNT, NOW, None, 10)) == 2
