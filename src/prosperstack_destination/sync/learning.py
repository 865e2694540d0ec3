"""Learning who ProsperStack's subscribers are: single look-ups, and the listing, page by page."""

from collections.abc import Awaitable
from functools import partial

from sqlalchemy import Connection

from prosperstack_destination.emails import normalize_email
from prosperstack_destination.errors import NotFound, Rejected, Unavailable
from prosperstack_destination.prosperstack import models
from prosperstack_destination.prosperstack.client import Listed
from prosperstack_destination.prosperstack.models import Page
from prosperstack_destination.prosperstack.paging import all_items
from prosperstack_destination.state import directory, listing, profiles, sweeping
from prosperstack_destination.state.directory import Seen, Subscriber
from prosperstack_destination.state.listing import Directory
from prosperstack_destination.state.profile import Profile, Status
from prosperstack_destination.state.sweeping import Sweep
from prosperstack_destination.sync.planner import REFRESH_SHARE_IDLE
from prosperstack_destination.sync.quoting import reason_of
from prosperstack_destination.sync.workplace import About, Workplace


async def look_up(at: Workplace, profile: Profile, *, urgent: bool, gone: Subscriber | None = None) -> bool:
    """Learn who has a profile's email, and have the profile looked at; whether anything was learned.

    One whose email ProsperStack rejects is set aside. ``gone`` is a subscriber that ProsperStack said is gone:
    raises `Unavailable` where the look-up shows them all the same.
    """
    asked_at = at.clock()
    spellings = dict.fromkeys((profile.address, profile.email))  # whether case matters there is not known
    found: list[Seen] = []
    try:
        for spelling in spellings:
            found = await _find(at, spelling, profile, urgent=urgent)
            if found:
                break
    except Rejected as rejection:
        reason = f"ProsperStack rejects the email: {rejection}"
        await at.database.write(profiles.settle, profile, Status.SET_ASIDE, reason=reason)
        at.log.warning("set aside", profile=profile.id, status_code=rejection.status_code)
        return False
    await at.database.write(_store_look_up, profile, found, asked_at, at.clock(), gone)
    if gone is not None and any(each.id == gone.id for each in found):
        raise Unavailable(f"ProsperStack says that subscriber {gone.id} is gone, and shows them.", status_code=404)
    return True


async def list_page(at: Workplace) -> bool:
    """Take in the next page of the listing in progress, or the first of a new one; whether it was the last.

    A cursor that ProsperStack does not take any more begins the listing anew, once.
    """
    progress = await at.database.write(listing.begin, at.account_id, at.clock())
    try:
        return await _take_page(at, progress)
    except (Rejected, NotFound) as refusal:
        if progress.cursor is None:
            raise
        at.log.warning("the listing begins anew", reason=reason_of(refusal))
        await at.database.write(listing.restart, at.account_id, at.clock())
        return False


async def _take_page(at: Workplace, progress: Directory) -> bool:
    asked_at = at.clock()
    page = await at.send(
        About("GET /subscribers"),
        partial(at.prosperstack.list_subscribers, progress.cursor, updated_since=progress.since),
    )
    took = at.clock() - asked_at
    there = asked_at if page.served_at is None else page.served_at - max(took, 0)
    endless = page.next_cursor == progress.cursor  # a cursor that stays where it is would never come to an end
    last = await at.database.write(
        listing.take_page,
        at.account_id,
        _seen(page),
        None if endless else page.next_cursor,
        there=there,
        now=asked_at,
        refresh_after=int(at.spender.budget.interval / REFRESH_SHARE_IDLE),
    )
    if last:
        at.log.info("the directory is up to date", pages=progress.pages + 1, full=progress.since is None)
    return last


async def sweep_page(at: Workplace, sweep: Sweep) -> None:
    """Take in the next page of a sweep. One whose cursor is not taken any more begins anew."""
    asked_at = at.clock()
    try:
        page = await at.send(About("GET /subscribers"), partial(at.prosperstack.list_subscribers, sweep.cursor))
    except (Rejected, NotFound) as refusal:
        at.log.warning("the sweep begins anew", reason=reason_of(refusal))
        await at.database.write(sweeping.restart, at.account_id)
        return
    next_cursor = None if page.next_cursor == sweep.cursor else page.next_cursor
    news = await at.database.write(
        sweeping.take_page, at.account_id, sweep, _seen(page), next_cursor, asked_at=asked_at, now=at.clock()
    )
    if news:
        at.log.info("the sweep brought news", people=news)


def _seen(page: Listed) -> list[Seen]:
    """The subscribers of a page with an email, each once."""
    return [
        Seen(each.id, email, each.values(), each.platform_id)
        for each in {each.id: each for each in page.subscribers}.values()
        if (email := normalize_email(each.email))
    ]


async def _find(at: Workplace, spelling: str, profile: Profile, *, urgent: bool) -> list[Seen]:
    """The subscribers whose email is this one, whatever the case."""

    email = profile.email

    def fetch(cursor: str | None) -> Awaitable[Page[models.Subscriber]]:
        about = About("GET /subscribers", email, attempts=profile.attempts)
        return at.send(about, partial(at.prosperstack.find_subscribers, spelling, cursor), urgent=urgent)

    return [
        Seen(each.id, email, each.values(), each.platform_id)
        for each in await all_items(fetch)
        if normalize_email(each.email) == email
    ]


def _store_look_up(
    connection: Connection,
    profile: Profile,
    found: list[Seen],
    asked_at: int,
    now: int,
    gone: Subscriber | None,
) -> None:
    lost = directory.observe(connection, profile.account_id, profile.email, found, asked_at)
    if gone is not None and all(each.id != gone.id for each in found):
        directory.forget(connection, profile.account_id, gone.id)
        lost = True
    listing.count_lookup(connection, profile.account_id)
    profiles.mark_looked_up(connection, profile, asked_at, now, lost=lost)
