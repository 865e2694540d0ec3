"""Discovery of ProsperStack's subscribers: lookups, listing and sweep."""

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
from prosperstack_destination.store import listing_state, profiles, subscribers
from prosperstack_destination.store.listing_state import ListingState, Sweep
from prosperstack_destination.store.models import Profile, Status
from prosperstack_destination.store.subscribers import Subscriber, SubscriberSnapshot


async def look_up(ctx: WorkerContext, profile: Profile, *, urgent: bool, gone: Subscriber | None = None) -> bool:
    """Look up the subscribers with a profile's email and make the profile due; return whether that succeeded.

    A profile whose email ProsperStack rejects is set aside. ``gone`` is a subscriber that ProsperStack reported as
    gone: raises `ProsperStackUnavailable` where the lookup shows it.
    """
    asked_at = ctx.clock()
    spellings = dict.fromkeys((profile.address, profile.email))  # ProsperStack may or may not ignore case
    subscribers_found: list[SubscriberSnapshot] = []
    try:
        for spelling in spellings:
            subscribers_found = await _find(ctx, spelling, profile, urgent=urgent)
            if subscribers_found:
                break
    except ProsperStackRejected as rejection:
        reason = f"ProsperStack rejects the email: {rejection}"
        await ctx.database.write(profiles.settle, profile, Status.REJECTED, reason=reason)
        ctx.log.warning("email rejected", profile=profile.id, status_code=rejection.status_code)
        return False
    await ctx.database.write(_store_look_up, profile, subscribers_found, asked_at, ctx.clock(), gone)
    if gone is not None and any(each.id == gone.id for each in subscribers_found):
        raise ProsperStackUnavailable(
            f"ProsperStack answered 404 for subscriber {gone.id}, and still lists it.", status_code=404
        )
    return True


async def list_page(ctx: WorkerContext) -> bool:
    """Store the next page of the listing, or the first page of a new one; return whether it was the last.

    Where ProsperStack rejects the cursor, the listing starts over, once.
    """
    listing = await ctx.database.write(listing_state.begin, ctx.account_id, ctx.clock())
    try:
        return await _store_next_page(ctx, listing)
    except (ProsperStackRejected, ProsperStackNotFound) as refusal:
        if listing.cursor is None:
            raise
        ctx.log.warning("the listing starts over", reason=reason_of(refusal))
        await ctx.database.write(listing_state.restart, ctx.account_id, ctx.clock())
        return False


async def _store_next_page(ctx: WorkerContext, listing: ListingState) -> bool:
    asked_at = ctx.clock()
    page = await ctx.send(
        RequestInfo("GET /subscribers"),
        partial(ctx.prosperstack.list_subscribers, listing.cursor, updated_since=listing.since),
    )
    duration = ctx.clock() - asked_at
    served_at = asked_at if page.served_at is None else page.served_at - max(duration, 0)
    repeats_cursor = page.next_cursor == listing.cursor  # such a listing would never end
    last = await ctx.database.write(
        listing_state.store_page,
        ctx.account_id,
        _snapshots(page),
        None if repeats_cursor else page.next_cursor,
        server_time=served_at,
        now=asked_at,
        refresh_after=int(ctx.rate_limiter.budget.interval / REFRESH_SHARE_IDLE),
    )
    if last:
        ctx.log.info("the listing is complete", pages=listing.pages + 1, full=listing.since is None)
    return last


async def sweep_page(ctx: WorkerContext, sweep: Sweep) -> None:
    """Store the next page of a sweep. Where ProsperStack rejects the cursor, the sweep starts over."""
    asked_at = ctx.clock()
    try:
        page = await ctx.send(
            RequestInfo("GET /subscribers"), partial(ctx.prosperstack.list_subscribers, sweep.cursor)
        )
    except (ProsperStackRejected, ProsperStackNotFound) as refusal:
        ctx.log.warning("the sweep starts over", reason=reason_of(refusal))
        await ctx.database.write(listing_state.restart_sweep, ctx.account_id)
        return
    next_cursor = None if page.next_cursor == sweep.cursor else page.next_cursor
    changed = await ctx.database.write(
        listing_state.store_sweep_page,
        ctx.account_id,
        sweep,
        _snapshots(page),
        next_cursor,
        requested_at=asked_at,
        now=ctx.clock(),
    )
    if changed:
        ctx.log.info("the sweep found changes", people=changed)


def _snapshots(page: SubscriberPage) -> list[SubscriberSnapshot]:
    """Return the subscribers of a page that have an email, each once."""
    return [
        SubscriberSnapshot(each.id, email, each.values(), each.platform_id)
        for each in {each.id: each for each in page.subscribers}.values()
        if (email := normalize_email(each.email))
    ]


async def _find(ctx: WorkerContext, spelling: str, profile: Profile, *, urgent: bool) -> list[SubscriberSnapshot]:
    """Return the subscribers with this email, ignoring case."""

    email = profile.email

    def fetch(cursor: str | None) -> Awaitable[Page[models.Subscriber]]:
        info = RequestInfo("GET /subscribers", email, attempts=profile.attempts)
        return ctx.send(info, partial(ctx.prosperstack.find_subscribers, spelling, cursor), urgent=urgent)

    return [
        SubscriberSnapshot(each.id, email, each.values(), each.platform_id)
        for each in await all_items(fetch)
        if normalize_email(each.email) == email
    ]


def _store_look_up(
    connection: Connection,
    profile: Profile,
    subscribers_found: list[SubscriberSnapshot],
    asked_at: int,
    now: int,
    gone: Subscriber | None,
) -> None:
    lost = subscribers.replace_for_email(connection, profile.account_id, profile.email, subscribers_found, asked_at)
    if gone is not None and all(each.id != gone.id for each in subscribers_found):
        subscribers.remove(connection, profile.account_id, gone.id)
        lost = True
    listing_state.count_lookup(connection, profile.account_id)
    profiles.mark_looked_up(connection, profile, asked_at, now, lost=lost)
