"""Learning who ProsperStack's subscribers are: single look-ups, and the listing, page by page."""

from collections.abc import Awaitable
from functools import partial

from sqlalchemy import Connection

from prosperstack_destination.emails import normalize_email
from prosperstack_destination.errors import ProsperStackNotFound, ProsperStackRejected, ProsperStackUnavailable
from prosperstack_destination.prosperstack import models
from prosperstack_destination.prosperstack.client import SubscriberPage, all_items
from prosperstack_destination.prosperstack.models import Page
from prosperstack_destination.reconcile.planner import REFRESH_SHARE_IDLE
from prosperstack_destination.reconcile.redaction import reason_of
from prosperstack_destination.reconcile.worker_context import RequestInfo, WorkerContext
from prosperstack_destination.store import listing_state, profiles, subscribers, sweep_state
from prosperstack_destination.store.listing_state import ListingState
from prosperstack_destination.store.models import Profile, Status
from prosperstack_destination.store.subscribers import Subscriber, SubscriberSnapshot
from prosperstack_destination.store.sweep_state import Sweep


async def look_up(ctx: WorkerContext, profile: Profile, *, urgent: bool, gone: Subscriber | None = None) -> bool:
    """Learn who has a profile's email, and have the profile looked at; whether anything was learned.

    One whose email ProsperStack rejects is set aside. ``gone`` is a subscriber that ProsperStack said is gone:
    raises `ProsperStackUnavailable` where the look-up shows them all the same.
    """
    asked_at = ctx.clock()
    spellings = dict.fromkeys((profile.address, profile.email))  # whether case matters there is not known
    found: list[SubscriberSnapshot] = []
    try:
        for spelling in spellings:
            found = await _find(ctx, spelling, profile, urgent=urgent)
            if found:
                break
    except ProsperStackRejected as rejection:
        reason = f"ProsperStack rejects the email: {rejection}"
        await ctx.database.write(profiles.settle, profile, Status.SET_ASIDE, reason=reason)
        ctx.log.warning("set aside", profile=profile.id, status_code=rejection.status_code)
        return False
    await ctx.database.write(_store_look_up, profile, found, asked_at, ctx.clock(), gone)
    if gone is not None and any(each.id == gone.id for each in found):
        raise ProsperStackUnavailable(
            f"ProsperStack says that subscriber {gone.id} is gone, and shows them.", status_code=404
        )
    return True


async def list_page(ctx: WorkerContext) -> bool:
    """Take in the next page of the listing in progress, or the first of a new one; whether it was the last.

    A cursor that ProsperStack does not take any more begins the listing anew, once.
    """
    progress = await ctx.database.write(listing_state.begin, ctx.account_id, ctx.clock())
    try:
        return await _take_page(ctx, progress)
    except (ProsperStackRejected, ProsperStackNotFound) as refusal:
        if progress.cursor is None:
            raise
        ctx.log.warning("the listing begins anew", reason=reason_of(refusal))
        await ctx.database.write(listing_state.restart, ctx.account_id, ctx.clock())
        return False


async def _take_page(ctx: WorkerContext, progress: ListingState) -> bool:
    asked_at = ctx.clock()
    page = await ctx.send(
        RequestInfo("GET /subscribers"),
        partial(ctx.prosperstack.list_subscribers, progress.cursor, updated_since=progress.since),
    )
    took = ctx.clock() - asked_at
    there = asked_at if page.served_at is None else page.served_at - max(took, 0)
    endless = page.next_cursor == progress.cursor  # a cursor that stays where it is would never come to an end
    last = await ctx.database.write(
        listing_state.take_page,
        ctx.account_id,
        _snapshots(page),
        None if endless else page.next_cursor,
        there=there,
        now=asked_at,
        refresh_after=int(ctx.rate_limiter.budget.interval / REFRESH_SHARE_IDLE),
    )
    if last:
        ctx.log.info("the directory is up to date", pages=progress.pages + 1, full=progress.since is None)
    return last


async def sweep_page(ctx: WorkerContext, sweep: Sweep) -> None:
    """Take in the next page of a sweep. One whose cursor is not taken any more begins anew."""
    asked_at = ctx.clock()
    try:
        page = await ctx.send(
            RequestInfo("GET /subscribers"), partial(ctx.prosperstack.list_subscribers, sweep.cursor)
        )
    except (ProsperStackRejected, ProsperStackNotFound) as refusal:
        ctx.log.warning("the sweep begins anew", reason=reason_of(refusal))
        await ctx.database.write(sweep_state.restart, ctx.account_id)
        return
    next_cursor = None if page.next_cursor == sweep.cursor else page.next_cursor
    news = await ctx.database.write(
        sweep_state.take_page,
        ctx.account_id,
        sweep,
        _snapshots(page),
        next_cursor,
        asked_at=asked_at,
        now=ctx.clock(),
    )
    if news:
        ctx.log.info("the sweep brought news", people=news)


def _snapshots(page: SubscriberPage) -> list[SubscriberSnapshot]:
    """The subscribers of a page with an email, each once."""
    return [
        SubscriberSnapshot(each.id, email, each.values(), each.platform_id)
        for each in {each.id: each for each in page.subscribers}.values()
        if (email := normalize_email(each.email))
    ]


async def _find(ctx: WorkerContext, spelling: str, profile: Profile, *, urgent: bool) -> list[SubscriberSnapshot]:
    """The subscribers whose email is this one, whatever the case."""

    email = profile.email

    def fetch(cursor: str | None) -> Awaitable[Page[models.Subscriber]]:
        about = RequestInfo("GET /subscribers", email, attempts=profile.attempts)
        return ctx.send(about, partial(ctx.prosperstack.find_subscribers, spelling, cursor), urgent=urgent)

    return [
        SubscriberSnapshot(each.id, email, each.values(), each.platform_id)
        for each in await all_items(fetch)
        if normalize_email(each.email) == email
    ]


def _store_look_up(
    connection: Connection,
    profile: Profile,
    found: list[SubscriberSnapshot],
    asked_at: int,
    now: int,
    gone: Subscriber | None,
) -> None:
    lost = subscribers.replace_for_email(connection, profile.account_id, profile.email, found, asked_at)
    if gone is not None and all(each.id != gone.id for each in found):
        subscribers.remove(connection, profile.account_id, gone.id)
        lost = True
    listing_state.count_lookup(connection, profile.account_id)
    profiles.mark_looked_up(connection, profile, asked_at, now, lost=lost)
