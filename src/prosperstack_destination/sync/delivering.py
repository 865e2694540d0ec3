"""Delivering: one update to one subscriber, and what to make of its answer."""

from dataclasses import dataclass
from functools import partial
from typing import Final

from sqlalchemy import Connection

from prosperstack_destination.accounts.meaning import Meaning
from prosperstack_destination.clock import HOUR, SECOND
from prosperstack_destination.emails import normalize_email
from prosperstack_destination.errors import CredentialsRefused, NotFound, ProsperStackError, RateLimited, Rejected
from prosperstack_destination.mapping.coercion import PropertyValue
from prosperstack_destination.prosperstack import models
from prosperstack_destination.state import clearing, directory, listing, profiles
from prosperstack_destination.state.clearing import Clearing
from prosperstack_destination.state.directory import Seen, Subscriber
from prosperstack_destination.state.erasing import clear_later
from prosperstack_destination.state.profile import Profile
from prosperstack_destination.sync.backoff import person_backoff_seconds
from prosperstack_destination.sync.isolation import Fault, Search
from prosperstack_destination.sync.judging import Update, UpdateSubscriptions
from prosperstack_destination.sync.learning import look_up
from prosperstack_destination.sync.quoting import reason_of
from prosperstack_destination.sync.subscriptions import SubscriptionUpdater
from prosperstack_destination.sync.verdicts import Judged, judge_again
from prosperstack_destination.sync.workplace import About, Workplace

#: How long a clearing of a subscriber who is gone is put off, in microseconds.
GONE_FOR: Final = 1 * HOUR


@dataclass(frozen=True, slots=True)
class _Came:
    """What came of an update."""

    #: Nothing is left to do for the profile.
    settled: bool
    #: The subscriber turned out to have another email.
    moved: bool


async def deliver(at: Workplace, profile: Profile, update: Update, meaning: Meaning, *, urgent: bool) -> bool:
    """Send one subscriber what differs, and note it; what changes meanwhile stays due.

    A property that ProsperStack rejects is found and set aside, and the rest delivered. A subscriber who is gone
    is looked up by the email, or has another email by now: then there are profiles to be looked at, and the answer
    is True.
    """
    try:
        return await _send_or_isolate(at, profile, update, meaning, urgent=urgent)
    except NotFound:
        at.log.info("a subscriber is gone", subscriber=update.subscriber.id)
        return await look_up(at, profile, urgent=urgent, gone=update.subscriber)


async def deliver_subscriptions(
    at: Workplace, updater: SubscriptionUpdater, judged: Judged, update: UpdateSubscriptions, meaning: Meaning
) -> bool:
    """Bring the subscriptions of a profile's subscribers to what is desired, and note what is left to do."""
    await updater.update(judged.known.profile, update.subscribers, judged.projection)
    if await at.database.write(judge_again, judged.known.profile, meaning, at.clock()):
        at.observer.settled(judged.known.profile, "delivered")
    return False


async def clear(at: Workplace, updater: SubscriptionUpdater, each: Clearing) -> None:
    """Undo in ProsperStack what was written for a person who was erased. What fails is tried again later.

    Raises `ProsperStackError` where the account has to wait.

    That the subscriber is gone is believed when ProsperStack says so twice, an hour apart.
    """
    try:
        if each.delete_subscriber:
            about = About("DELETE /subscribers/{id}", target=each.subscriber_id, attempts=each.attempts)
            await at.send(about, partial(at.prosperstack.delete_subscriber, each.subscriber_id))
        else:
            nothing = dict.fromkeys(await updater.clear(each.subscriber_id, each.properties))
            if nothing:
                about = About("PATCH /subscribers/{id}", target=each.subscriber_id, attempts=each.attempts)
                await at.send(about, partial(at.prosperstack.update_subscriber, each.subscriber_id, nothing))
    except NotFound:
        if each.reason != clearing.GONE:
            await at.database.write(clearing.postpone, at.account_id, each, at.clock() + GONE_FOR, clearing.GONE)
            return
    except ProsperStackError as error:
        until = at.clock() + int(person_backoff_seconds(each.attempts + 1) * SECOND)
        await at.database.write(clearing.postpone, at.account_id, each, until, reason_of(error))
        if isinstance(error, CredentialsRefused | RateLimited) or at.spender.streaks.must_wait:
            raise
        at.log.warning("not cleared", subscriber=each.subscriber_id, reason=reason_of(error))
        return
    await at.database.write(clearing.done, at.account_id, each.subscriber_id)
    at.log.info("cleared", subscriber=each.subscriber_id, deleted=each.delete_subscriber)


async def _send_or_isolate(
    at: Workplace, profile: Profile, update: Update, meaning: Meaning, *, urgent: bool
) -> bool:
    try:
        return await _send(at, profile, update.subscriber, update.send, meaning, urgent=urgent)
    except Rejected as rejection:
        await _isolate(at, profile, update.subscriber, Search(update.send, str(rejection)), meaning)
        return False


async def _send(
    at: Workplace,
    profile: Profile,
    subscriber: Subscriber,
    properties: dict[str, PropertyValue],
    meaning: Meaning,
    *,
    urgent: bool = False,
) -> bool:
    asked_at = at.clock()
    about = About("PATCH /subscribers/{id}", profile.email, subscriber.id, properties, profile.attempts)
    update = partial(at.prosperstack.update_subscriber, subscriber.id, properties)
    try:
        answer = await at.send(about, update, urgent=urgent)
    except Rejected:
        raise
    except ProsperStackError:  # it may have been carried out, whatever the answer says
        await at.database.write(_in_doubt, profile, subscriber, properties, at.clock())
        raise
    came = await at.database.write(_delivered, profile, subscriber, properties, answer, meaning, asked_at)
    at.log.info("delivered", subscriber=subscriber.id, properties=sorted(properties))
    if came.settled:
        at.observer.settled(profile, "delivered")
    return came.moved


async def _isolate(
    at: Workplace, profile: Profile, subscriber: Subscriber, search: Search, meaning: Meaning
) -> None:
    """Find the one property that makes ProsperStack reject an update, and set it aside."""
    while (fault := search.fault) is None:
        try:
            await _send(at, profile, subscriber, dict(search.attempt), meaning)
        except Rejected as rejection:
            search = search.rejected(str(rejection))
        else:
            search = search.accepted()
    await at.database.write(_set_aside, profile, subscriber, fault, meaning, at.clock())
    at.log.warning("set aside", subscriber=subscriber.id, property=fault.key)


def _delivered(
    connection: Connection,
    profile: Profile,
    subscriber: Subscriber,
    sent: dict[str, PropertyValue],
    answer: models.Subscriber,
    meaning: Meaning,
    now: int,
) -> _Came:
    """Note an update that went through.

    If the person was erased while it was under way, what it wrote is cleared as what was written before is.
    """
    account_id = profile.account_id
    if profiles.get(connection, profile.id) is None:
        clear_later(connection, account_id, {subscriber.id: list(sent)}, now)
        return _Came(settled=False, moved=False)
    directory.mark_applied(connection, account_id, subscriber.id, sent, observed=answer.values(), now=now)
    listing.count_write(connection, account_id)
    email = normalize_email(answer.email)
    moved = email not in ("", subscriber.email)
    if moved:
        news = directory.learn(
            connection, account_id, [Seen(subscriber.id, email, answer.values(), answer.platform_id)], now
        )
        profiles.news_of(connection, account_id, news, now)
    return _Came(settled=judge_again(connection, profile, meaning, now), moved=moved)


def _in_doubt(
    connection: Connection, profile: Profile, subscriber: Subscriber, sent: dict[str, PropertyValue], now: int
) -> None:
    """Note an update of which nobody knows what came of it; if the person was erased meanwhile, it is cleared."""
    if profiles.get(connection, profile.id) is None:
        clear_later(connection, profile.account_id, {subscriber.id: list(sent)}, now)
    else:
        profiles.doubt(connection, profile.id, now)


def _set_aside(
    connection: Connection, profile: Profile, subscriber: Subscriber, fault: Fault, meaning: Meaning, now: int
) -> None:
    directory.set_aside(connection, profile.account_id, subscriber.id, fault.key, fault.value, fault.reason)
    judge_again(connection, profile, meaning, now)
