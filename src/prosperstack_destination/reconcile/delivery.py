"""Delivering: one update to one subscriber, and what to make of its answer."""

from dataclasses import dataclass
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
    ProsperStackRateLimited,
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
from prosperstack_destination.reconcile.worker_context import RequestInfo, WorkerContext
from prosperstack_destination.store import listing_state, profiles, remote_erasures, subscribers
from prosperstack_destination.store.erasure import queue_remote_erasure
from prosperstack_destination.store.models import Profile
from prosperstack_destination.store.remote_erasures import RemoteErasure
from prosperstack_destination.store.subscribers import Subscriber, SubscriberSnapshot

#: How long a clearing of a subscriber who is gone is put off, in microseconds.
GONE_FOR: Final = 1 * HOUR


@dataclass(frozen=True, slots=True)
class _Came:
    """What came of an update."""

    #: Nothing is left to do for the profile.
    settled: bool
    #: The subscriber turned out to have another email.
    moved: bool


async def deliver(
    ctx: WorkerContext, profile: Profile, update: NeedsUpdate, meaning: AccountMapping, *, urgent: bool
) -> bool:
    """Send one subscriber what differs, and note it; what changes meanwhile stays due.

    A property that ProsperStack rejects is found and set aside, and the rest delivered. A subscriber who is gone
    is looked up by the email, or has another email by now: then there are profiles to be looked at, and the answer
    is True.
    """
    try:
        return await _send_or_isolate(ctx, profile, update, meaning, urgent=urgent)
    except ProsperStackNotFound:
        ctx.log.info("a subscriber is gone", subscriber=update.subscriber.id)
        return await look_up(ctx, profile, urgent=urgent, gone=update.subscriber)


async def deliver_subscriptions(
    ctx: WorkerContext,
    updater: SubscriptionUpdater,
    judged: Evaluation,
    update: NeedsSubscriptionUpdate,
    meaning: AccountMapping,
) -> bool:
    """Bring the subscriptions of a profile's subscribers to what is desired, and note what is left to do."""
    await updater.update(judged.context.profile, update.subscribers, judged.projection)
    if await ctx.database.write(reevaluate, judged.context.profile, meaning, ctx.clock()):
        ctx.observer.settled(judged.context.profile, "delivered")
    return False


async def erase_remote(ctx: WorkerContext, updater: SubscriptionUpdater, each: RemoteErasure) -> None:
    """Undo in ProsperStack what was written for a person who was erased. What fails is tried again later.

    Raises `ProsperStackError` where the account has to wait.

    That the subscriber is gone is believed when ProsperStack says so twice, an hour apart.
    """
    try:
        if each.delete_subscriber:
            about = RequestInfo("DELETE /subscribers/{id}", target=each.subscriber_id, attempts=each.attempts)
            await ctx.send(about, partial(ctx.prosperstack.delete_subscriber, each.subscriber_id))
        else:
            nothing = dict.fromkeys(await updater.clear(each.subscriber_id, each.properties))
            if nothing:
                about = RequestInfo("PATCH /subscribers/{id}", target=each.subscriber_id, attempts=each.attempts)
                await ctx.send(about, partial(ctx.prosperstack.update_subscriber, each.subscriber_id, nothing))
    except ProsperStackNotFound:
        if each.reason != remote_erasures.GONE:
            await ctx.database.write(
                remote_erasures.postpone, ctx.account_id, each, ctx.clock() + GONE_FOR, remote_erasures.GONE
            )
            return
    except ProsperStackError as error:
        until = ctx.clock() + int(person_backoff_seconds(each.attempts + 1) * SECOND)
        await ctx.database.write(remote_erasures.postpone, ctx.account_id, each, until, reason_of(error))
        if isinstance(error, ProsperStackAuthError | ProsperStackRateLimited) or ctx.rate_limiter.streaks.must_wait:
            raise
        ctx.log.warning("not cleared", subscriber=each.subscriber_id, reason=reason_of(error))
        return
    await ctx.database.write(remote_erasures.done, ctx.account_id, each.subscriber_id)
    ctx.log.info("cleared", subscriber=each.subscriber_id, deleted=each.delete_subscriber)


async def _send_or_isolate(
    ctx: WorkerContext, profile: Profile, update: NeedsUpdate, meaning: AccountMapping, *, urgent: bool
) -> bool:
    try:
        return await _send(ctx, profile, update.subscriber, update.send, meaning, urgent=urgent)
    except ProsperStackRejected as rejection:
        await _isolate(ctx, profile, update.subscriber, RejectionBisect(update.send, str(rejection)), meaning)
        return False


async def _send(
    ctx: WorkerContext,
    profile: Profile,
    subscriber: Subscriber,
    properties: dict[str, PropertyValue],
    meaning: AccountMapping,
    *,
    urgent: bool = False,
) -> bool:
    asked_at = ctx.clock()
    about = RequestInfo("PATCH /subscribers/{id}", profile.email, subscriber.id, properties, profile.attempts)
    update = partial(ctx.prosperstack.update_subscriber, subscriber.id, properties)
    try:
        answer = await ctx.send(about, update, urgent=urgent)
    except ProsperStackRejected:
        raise
    except ProsperStackError:  # it may have been carried out, whatever the answer says
        await ctx.database.write(_in_doubt, profile, subscriber, properties, ctx.clock())
        raise
    came = await ctx.database.write(_delivered, profile, subscriber, properties, answer, meaning, asked_at)
    ctx.log.info("delivered", subscriber=subscriber.id, properties=sorted(properties))
    if came.settled:
        ctx.observer.settled(profile, "delivered")
    return came.moved


async def _isolate(
    ctx: WorkerContext, profile: Profile, subscriber: Subscriber, search: RejectionBisect, meaning: AccountMapping
) -> None:
    """Find the one property that makes ProsperStack reject an update, and set it aside."""
    while (fault := search.fault) is None:
        try:
            await _send(ctx, profile, subscriber, dict(search.attempt), meaning)
        except ProsperStackRejected as rejection:
            search = search.rejected(str(rejection))
        else:
            search = search.accepted()
    await ctx.database.write(_set_aside, profile, subscriber, fault, meaning, ctx.clock())
    ctx.log.warning("set aside", subscriber=subscriber.id, property=fault.key)


def _delivered(
    connection: Connection,
    profile: Profile,
    subscriber: Subscriber,
    sent: dict[str, PropertyValue],
    answer: models.Subscriber,
    meaning: AccountMapping,
    now: int,
) -> _Came:
    """Note an update that went through.

    If the person was erased while it was under way, what it wrote is cleared as what was written before is.
    """
    account_id = profile.account_id
    if profiles.get(connection, profile.id) is None:
        queue_remote_erasure(connection, account_id, {subscriber.id: list(sent)}, now)
        return _Came(settled=False, moved=False)
    subscribers.mark_applied(connection, account_id, subscriber.id, sent, observed=answer.values(), now=now)
    listing_state.count_write(connection, account_id)
    email = normalize_email(answer.email)
    moved = email not in ("", subscriber.email)
    if moved:
        news = subscribers.upsert_page(
            connection,
            account_id,
            [SubscriberSnapshot(subscriber.id, email, answer.values(), answer.platform_id)],
            now,
        )
        profiles.mark_changed(connection, account_id, news, now)
    return _Came(settled=reevaluate(connection, profile, meaning, now), moved=moved)


def _in_doubt(
    connection: Connection, profile: Profile, subscriber: Subscriber, sent: dict[str, PropertyValue], now: int
) -> None:
    """Note an update of which nobody knows what came of it; if the person was erased meanwhile, it is cleared."""
    if profiles.get(connection, profile.id) is None:
        queue_remote_erasure(connection, profile.account_id, {subscriber.id: list(sent)}, now)
    else:
        profiles.invalidate_observed(connection, profile.id, now)


def _set_aside(
    connection: Connection,
    profile: Profile,
    subscriber: Subscriber,
    fault: Fault,
    meaning: AccountMapping,
    now: int,
) -> None:
    subscribers.mark_rejected(connection, profile.account_id, subscriber.id, fault.key, fault.value, fault.reason)
    reevaluate(connection, profile, meaning, now)
