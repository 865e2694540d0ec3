"""The listing of subscribers, page by page."""

import pytest

from prosperstack_destination.clock import HOUR, MINUTE, SECOND
from prosperstack_destination.store import listing_state, profiles, subscribers
from prosperstack_destination.store.database import Database
from prosperstack_destination.store.listing_state import OVERLAP, RESUME_FOR, ListingState
from prosperstack_destination.store.models import Status
from prosperstack_destination.store.subscribers import SubscriberSnapshot
from support.accounts import open_account
from support.clocks import NEW_YEAR
from support.intake import ACCOUNT, identify, stored, take

pytestmark = pytest.mark.anyio

NOW = NEW_YEAR
#: ProsperStack's clock is an hour behind ours.
THERE = NOW - HOUR


async def page(database: Database, *seen: SubscriberSnapshot, cursor: str | None = None, at: int = NOW) -> bool:
    await database.write(listing_state.begin, ACCOUNT, at)
    return await database.write(
        listing_state.store_page, ACCOUNT, seen, cursor, server_time=at - HOUR, now=at, refresh_after=MINUTE
    )


async def test_a_full_listing_then_what_was_updated_since(database: Database) -> None:
    """The first listing shows all; the next only what was updated since it began, by ProsperStack's clock."""
    await database.write(open_account)
    assert not await page(database, SubscriberSnapshot("s1", "a@b.c", {}), cursor="two")
    assert await page(database, SubscriberSnapshot("s2", "d@e.f", {}), at=NOW + MINUTE)

    known = await database.read(listing_state.read, ACCOUNT)
    assert (known.as_of, known.watermark, known.size, known.in_progress) == (NOW, THERE, 2, False)

    again = await database.write(listing_state.begin, ACCOUNT, NOW + 2 * MINUTE)
    assert (again.since, again.cursor, again.in_progress) == (THERE - OVERLAP, None, True)


async def test_a_listing_that_was_interrupted_goes_on(database: Database) -> None:
    """The cursor is kept with the page before it; after a day it is not trusted any more."""
    await database.write(open_account)
    await page(database, SubscriberSnapshot("s1", "a@b.c", {}), cursor="two")

    soon = await database.write(listing_state.begin, ACCOUNT, NOW + HOUR)
    late = await database.write(listing_state.begin, ACCOUNT, NOW + RESUME_FOR)

    assert (soon.cursor, soon.pages) == ("two", 1)
    assert (late.cursor, late.pages, late.began_at) == (None, 0, NOW + RESUME_FOR)


async def test_whoever_is_learned_of_is_matched(database: Database) -> None:
    """A profile that nobody matched is looked at when a subscriber with its email shows up."""
    await database.write(open_account)
    await database.write(take, identify(plan="pro"), identify("other@b.c"))
    for email in ("a@b.c", "other@b.c"):
        await database.write(profiles.settle, await database.read(stored, email), Status.UNMATCHED)

    await page(database, SubscriberSnapshot("s1", "a@b.c", {}))

    matched, other = await database.read(stored), await database.read(stored, "other@b.c")
    assert (matched.status, other.status) == (Status.PENDING, Status.UNMATCHED)
    known = await database.read(listing_state.read, ACCOUNT)
    assert (known.news, known.found) == (1, 1)


async def test_another_email_is_news_of_both(database: Database) -> None:
    """A subscriber who got another email is looked at for whoever had it and for whoever has it now."""
    await database.write(open_account)
    await page(database, SubscriberSnapshot("s1", "old@b.c", {"plan": "x"}))
    await database.write(take, identify("old@b.c"), identify("new@b.c"))
    for email in ("old@b.c", "new@b.c"):
        await database.write(profiles.settle, await database.read(stored, email), Status.IN_SYNC)

    await page(database, SubscriberSnapshot("s1", "new@b.c", {"plan": "x"}), at=NOW + MINUTE)

    assert (await database.read(stored, "old@b.c")).status is Status.PENDING
    assert (await database.read(stored, "new@b.c")).status is Status.PENDING
    assert await database.read(subscribers.with_email, ACCOUNT, "old@b.c") == []


async def test_what_is_known_is_no_news(database: Database) -> None:
    """Seeing the same again wakes nobody, and what was applied stays."""
    await database.write(open_account)
    await page(database, SubscriberSnapshot("s1", "a@b.c", {"plan": "pro"}))
    await database.write(take, identify(plan="pro"))
    await database.write(subscribers.mark_applied, ACCOUNT, "s1", {"plan": "pro"}, observed=None, now=NOW)
    await database.write(profiles.settle, await database.read(stored), Status.IN_SYNC)

    await page(database, SubscriberSnapshot("s1", "a@b.c", {"plan": "pro"}), at=NOW + MINUTE)

    assert (await database.read(stored)).status is Status.IN_SYNC
    [subscriber] = await database.read(subscribers.with_email, ACCOUNT, "a@b.c")
    assert subscriber.applied == {"plan": "pro"}


async def test_a_quiet_directory_is_brought_up_to_date_less_often(database: Database) -> None:
    """Each time that brings nothing doubles the wait, up to an hour; any news begins anew."""
    await database.write(open_account)
    waits = []
    for number in range(9):
        at = NOW + number * HOUR
        await page(database, *([SubscriberSnapshot(f"s{number}", "a@b.c", {})] if number in (0, 8) else []), at=at)
        known = await database.read(listing_state.read, ACCOUNT)
        assert known.refresh_at is not None
        waits.append((known.refresh_at - at) // MINUTE)

    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 1]


async def test_what_it_cost_is_counted_until_the_next_listing(database: Database) -> None:
    """Look-ups and updates are counted from the first on, and forgotten when a listing ends."""
    await database.write(open_account)
    assert await database.read(listing_state.read, ACCOUNT) == ListingState()
    for unit in (listing_state.count_lookup, listing_state.count_write, listing_state.count_write):
        await database.write(unit, ACCOUNT)
    before = await database.read(listing_state.read, ACCOUNT)
    await page(database)
    after = await database.read(listing_state.read, ACCOUNT)

    assert (before.lookups, before.writes) == (1, 2)
    assert (after.lookups, after.writes) == (0, 0)


def test_the_overlap_is_wider_than_whole_seconds() -> None:
    """Times of ProsperStack's may come in whole seconds: an overlap of one would lose updates."""
    assert OVERLAP > 2 * SECOND
