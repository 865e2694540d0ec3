"""Listings of subscribers, page by page."""

import pytest

from prosperstack_destination.clock import HOUR, MINUTE, SECOND
from prosperstack_destination.store import listing_state, profiles, subscribers
from prosperstack_destination.store.database import Database
from prosperstack_destination.store.listing_state import OVERLAP, RESUME_FOR, ListingState
from prosperstack_destination.store.models import Status
from prosperstack_destination.store.subscribers import SubscriberSnapshot
from support.accounts import open_account
from support.clocks import NEW_YEAR
from support.intake import ACCOUNT, apply_values, identify, stored, take

pytestmark = pytest.mark.anyio

NOW = NEW_YEAR
#: ProsperStack's clock is an hour behind ours.
THERE = NOW - HOUR


async def page(database: Database, *seen: SubscriberSnapshot, cursor: str | None = None, at: int = NOW) -> bool:
    await database.write(listing_state.begin, ACCOUNT, at)
    return await database.write(
        listing_state.store_page, ACCOUNT, seen, cursor, server_time=at - HOUR, now=at, refresh_after=MINUTE
    )


async def test_listing_after_the_first_is_incremental(database: Database) -> None:
    """The first listing returns all; the next one those updated since it began, by ProsperStack's clock."""
    await database.write(open_account)
    assert not await page(database, SubscriberSnapshot("s1", "a@b.c", {}), cursor="two")
    assert await page(database, SubscriberSnapshot("s2", "d@e.f", {}), at=NOW + MINUTE)

    known = await database.read(listing_state.read, ACCOUNT)
    assert (known.as_of, known.watermark, known.size, known.in_progress) == (NOW, THERE, 2, False)

    again = await database.write(listing_state.begin, ACCOUNT, NOW + 2 * MINUTE)
    assert (again.since, again.cursor, again.in_progress) == (THERE - OVERLAP, None, True)


async def test_interrupted_listing_continues(database: Database) -> None:
    """The cursor is stored with the page before it, and is valid for a day."""
    await database.write(open_account)
    await page(database, SubscriberSnapshot("s1", "a@b.c", {}), cursor="two")

    soon = await database.write(listing_state.begin, ACCOUNT, NOW + HOUR)
    late = await database.write(listing_state.begin, ACCOUNT, NOW + RESUME_FOR)

    assert (soon.cursor, soon.pages) == ("two", 1)
    assert (late.cursor, late.pages, late.began_at) == (None, 0, NOW + RESUME_FOR)


async def test_listed_subscriber_is_matched(database: Database) -> None:
    """An unmatched profile is evaluated when a subscriber with its email is listed."""
    await database.write(open_account)
    await database.write(take, identify(plan="pro"), identify("other@b.c"))
    for email in ("a@b.c", "other@b.c"):
        await database.write(profiles.settle, await database.read(stored, email), Status.UNMATCHED)

    await page(database, SubscriberSnapshot("s1", "a@b.c", {}))

    matched, other = await database.read(stored), await database.read(stored, "other@b.c")
    assert (matched.status, other.status) == (Status.PENDING, Status.UNMATCHED)
    known = await database.read(listing_state.read, ACCOUNT)
    assert (known.news, known.found) == (1, 1)


async def test_changed_email_concerns_both_profiles(database: Database) -> None:
    """A subscriber with a changed email makes the profiles of the former and of the new email due."""
    await database.write(open_account)
    await page(database, SubscriberSnapshot("s1", "old@b.c", {"plan": "x"}))
    await database.write(take, identify("old@b.c"), identify("new@b.c"))
    for email in ("old@b.c", "new@b.c"):
        await database.write(profiles.settle, await database.read(stored, email), Status.IN_SYNC)

    await page(database, SubscriberSnapshot("s1", "new@b.c", {"plan": "x"}), at=NOW + MINUTE)

    assert (await database.read(stored, "old@b.c")).status is Status.PENDING
    assert (await database.read(stored, "new@b.c")).status is Status.PENDING
    assert await database.read(subscribers.with_email, ACCOUNT, "old@b.c") == []


async def test_known_subscriber_changes_nothing(database: Database) -> None:
    """A listing without differences makes no profile due and keeps the applied values."""
    await database.write(open_account)
    await page(database, SubscriberSnapshot("s1", "a@b.c", {"plan": "pro"}))
    await database.write(take, identify(plan="pro"))
    await database.write(apply_values, ACCOUNT, "s1", {"plan": "pro"}, observed=None, now=NOW)
    await database.write(profiles.settle, await database.read(stored), Status.IN_SYNC)

    await page(database, SubscriberSnapshot("s1", "a@b.c", {"plan": "pro"}), at=NOW + MINUTE)

    assert (await database.read(stored)).status is Status.IN_SYNC
    [subscriber] = await database.read(subscribers.with_email, ACCOUNT, "a@b.c")
    assert subscriber.applied == {"plan": "pro"}


async def test_refresh_interval_grows_without_changes(database: Database) -> None:
    """Each listing without changes doubles the wait, up to an hour; any change resets it."""
    await database.write(open_account)
    waits = []
    for number in range(9):
        at = NOW + number * HOUR
        await page(database, *([SubscriberSnapshot(f"s{number}", "a@b.c", {})] if number in (0, 8) else []), at=at)
        known = await database.read(listing_state.read, ACCOUNT)
        assert known.refresh_at is not None
        waits.append((known.refresh_at - at) // MINUTE)

    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 1]


async def test_requests_are_counted_until_the_next_listing(database: Database) -> None:
    """Lookups and updates are counted, and reset at the end of a listing."""
    await database.write(open_account)
    assert await database.read(listing_state.read, ACCOUNT) == ListingState()
    await database.write(listing_state.count_lookup, ACCOUNT)
    for _ in range(2):
        await database.write(listing_state.count_writes, {ACCOUNT: 1})
    before = await database.read(listing_state.read, ACCOUNT)
    await page(database)
    after = await database.read(listing_state.read, ACCOUNT)

    assert (before.lookups, before.writes) == (1, 2)
    assert (after.lookups, after.writes) == (0, 0)


def test_overlap_exceeds_whole_seconds() -> None:
    """ProsperStack's times may be whole seconds: an overlap of one second would lose updates."""
    assert OVERLAP > 2 * SECOND
