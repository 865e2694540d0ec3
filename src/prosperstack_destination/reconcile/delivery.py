"""Delivery: send one update to one subscriber and store the result."""

from functools import partial
from typing import Final

from sqlalchemy import Connection

from prosperstack_destination.account_mapping import AccountMapping
from prosperstack_destination.clock import HOUR, SECOND
from prosperstack_destination.emails import normalize_email
from prosperstack_destination.errors import (
    ProsperStackAuthError,
    ProsperStackError,
    ProsperStackNotFound,
    ProsperStackRejected,
)
from prosperstack_destination.mapping.coercion import PropertyValue
from prosperstack_destination.prosperstack import models
from prosperstack_destination.reconcile.backoff import person_backoff_seconds
from prosperstack_destination.reconcile.decision import NeedsSubscriptionUpdate, NeedsUpdate
from prosperstack_destination.reconcile.discovery import look_up
from prosperstack_destination.reconcile.evaluation import Evaluation, reevaluate
from prosperstack_destination.reconcile.redaction import reason_of
from prosperstack_destination.reconcile.rejection_bisect import Fault, RejectionBisect
from prosperstack_destination.reconcile.subscriptions import SubscriptionUpdater
from prosperstack_destination.reconcile.worker_context import Delivery, RequestInfo, WorkerContext
from prosperstack_destination.store import profiles, remote_erasures, subscribers
from prosperstack_destination.store.erasure import queue_remote_erasure
from prosperstack_destination.store.models import Profile
from prosperstack_destination.store.remote_erasures import RemoteErasure
from prosperstack_destination.store.subscribers import Subscriber, SubscriberSnapshot

#: Time after which an erasure whose subscriber was not found is tried once more, in microseconds.
GONE_RECHECK: Final = 1 * HOUR


async def deliver(
    ctx: WorkerContext, profile: Profile, update: NeedsUpdate, mapping: AccountMapping, *, urgent: bool
) -> bool:
    """Send one subscriber what differs, and store the result. A later change stays due.

    A property that ProsperStack rejects is isolated and marked as rejected; the others are delivered. Where the
    subscriber is gone, the email is looked up. Returns whether profiles became due: after that lookup, or where the
    subscriber has another email now.
    """
    try:
        return await _send_or_isolate(ctx, profile, update, mapping, urgent=urgent)
    except ProsperStackNotFound:
        ctx.log.info("a subscriber is gone", subscriber=update.subscriber.id)
        return await look_up(ctx, profile, urgent=urgent, gone=update.subscriber)


async def deliver_subscriptions(
    ctx: WorkerContext,
    updater: SubscriptionUpdater,
    evaluated: Evaluation,
    update: NeedsSubscriptionUpdate,
    mapping: AccountMapping,
) -> bool:
    """Update the subscriptions of a profile's subscribers, and store what is left to do."""
    await updater.update(evaluated.context.profile, update.subscribers, evaluated.projection)
    if await ctx.database.write(reevaluate, evaluated.context.profile, mapping, ctx.clock()):
        ctx.observer.settled(evaluated.context.profile, "delivered")
    return False


async def erase_remote(ctx: WorkerContext, updater: SubscriptionUpdater, erasure: RemoteErasure) -> None:
    """Clear or delete a subscriber in ProsperStack after an erasure. A failure is retried later.

    Raises `ProsperStackError` where the account has to wait. A subscriber counts as gone when two responses an hour
    apart say so.
    """
    try:
        if erasure.delete_subscriber:
            info = RequestInfo("DELETE /subscribers/{id}", target=erasure.subscriber_id, attempts=erasure.attempts)
            await ctx.send(info, partial(ctx.prosperstack.delete_subscriber, erasure.subscriber_id))
        else:
            cleared = dict.fromkeys(await updater.clear(erasure.subscriber_id, erasure.properties))
            if cleared:
                info = RequestInfo(
                    "PATCH /subscribers/{id}", target=erasure.subscriber_id, attempts=erasure.attempts
                )
                await ctx.send(info, partial(ctx.prosperstack.update_subscriber, erasure.subscriber_id, cleared))
    except ProsperStackNotFound:
        if erasure.reason != remote_erasures.GONE:
            await ctx.database.write(
                remote_erasures.postpone, ctx.account_id, erasure, ctx.clock() + GONE_RECHECK, remote_erasures.GONE
            )
            return
    except ProsperStackError as error:
        until = ctx.clock() + int(person_backoff_seconds(erasure.attempts + 1) * SECOND)
        await ctx.database.write(remote_erasures.postpone, ctx.account_id, erasure, until, reason_of(error))
        if isinstance(error, ProsperStackAuthError) or ctx.rate_limiter.streaks.must_wait:
            raise
        ctx.log.warning("a subscriber was not cleared", subscriber=erasure.subscriber_id, reason=reason_of(error))
        return
    await ctx.database.write(remote_erasures.remove, ctx.account_id, erasure.subscriber_id)
    ctx.log.info("cleared", subscriber=erasure.subscriber_id, deleted=erasure.delete_subscriber)


async def _send_or_isolate(
    ctx: WorkerContext, profile: Profile, update: NeedsUpdate, mapping: AccountMapping, *, urgent: bool
) -> bool:
    try:
        return await _send(ctx, profile, update.subscriber, update.send, mapping, urgent=urgent)
    except ProsperStackRejected as rejection:
        await _isolate(ctx, profile, update.subscriber, RejectionBisect(update.send, str(rejection)), mapping)
        return False


async def _send(
    ctx: WorkerContext,
    profile: Profile,
    subscriber: Subscriber,
    properties: dict[str, PropertyValue],
    mapping: AccountMapping,
    *,
    urgent: bool = False,
) -> bool:
    asked_at = ctx.clock()
    info = RequestInfo("PATCH /subscribers/{id}", profile.email, subscriber.id, properties, profile.attempts)
    update = partial(ctx.prosperstack.update_subscriber, subscriber.id, properties)
    try:
        response = await ctx.send(info, update, urgent=urgent)
    except ProsperStackRejected:
        raise
    except ProsperStackError:  # ProsperStack may have applied the update
        await ctx.database.write(_mark_unconfirmed, profile, subscriber, properties, ctx.clock())
        raise
    result = await ctx.store_delivery(
        Delivery(
            profile, subscriber, properties, response.values(), _moved_to(subscriber, response), mapping, asked_at
        )
    )
    ctx.log.info("delivered", subscriber=subscriber.id, properties=sorted(properties))
    if result.settled:
        ctx.observer.settled(profile, "delivered")
    return result.moved


def _moved_to(subscriber: Subscriber, response: models.Subscriber) -> SubscriberSnapshot | None:
    """Return a subscriber whose email changed, as it is now; None: its email is the same."""
    email = normalize_email(response.email)
    if email in ("", subscriber.email):
        return None
    return SubscriberSnapshot(subscriber.id, email, response.values(), response.platform_id)


async def _isolate(
    ctx: WorkerContext, profile: Profile, subscriber: Subscriber, search: RejectionBisect, mapping: AccountMapping
) -> None:
    """Find the property that makes ProsperStack reject an update, and mark it as rejected."""
    while (fault := search.fault) is None:
        try:
            await _send(ctx, profile, subscriber, dict(search.attempt), mapping)
        except ProsperStackRejected as rejection:
            search = search.rejected(str(rejection))
        else:
            search = search.accepted()
    await ctx.database.write(_mark_rejected, profile, subscriber, fault, mapping, ctx.clock())
    ctx.log.warning("property rejected", subscriber=subscriber.id, property=fault.key)


def _mark_unconfirmed(
    connection: Connection, profile: Profile, subscriber: Subscriber, sent: dict[str, PropertyValue], now: int
) -> None:
    """Store that an update's result is unknown. If the profile was erased meanwhile, queue a remote erasure."""
    if profiles.get(connection, profile.id) is None:
        queue_remote_erasure(connection, profile.account_id, {subscriber.id: list(sent)}, now)
    else:
        profiles.invalidate_observed(connection, profile.id, now)


def _mark_rejected(
    connection: Connection,
    profile: Profile,
    subscriber: Subscriber,
    fault: Fault,
    mapping: AccountMapping,
    now: int,
) -> None:
    subscribers.mark_rejected(connection, profile.account_id, subscriber.id, fault.key, fault.value, fault.reason)
    reevaluate(connection, profile, mapping, now)
