"""Units of work on deletion: a person is forgotten, and older calls do not bring them back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue
from sqlalchemy import Connection

from prosperstack_destination.store import (
    accounts,
    audit_log,
    held_calls,
    identities,
    profiles,
    recent_calls,
    remap_progress,
    remote_erasures,
    sources,
    subscription_states,
)
from prosperstack_destination.store import subscribers as subscriber_rows
from prosperstack_destination.store.accounts import OnDelete
from prosperstack_destination.store.identities import Key
from prosperstack_destination.store.models import Delete, IdKind
from prosperstack_destination.store.pseudonyms import Pseudonym
from prosperstack_destination.store.scrub import request_scrub
from prosperstack_destination.store.tombstones import remember, subject_of_email, subject_of_id

#: How much of a pseudonym the audit trail shows.
_SHOWN: Final = 12


def erase(connection: Connection, call: Delete, pseudonym: Pseudonym, actor: str = "segment") -> "Erased":
    """Forget a person: their profiles, ids, recent calls and whatever is held of them. Calls of the account must
    not be taken in meanwhile: see `store.dialects.share_account`.

    The properties that this service wrote are to be cleared in ProsperStack, or the subscriber deleted, as the
    account wants it. Whoever is not known is erased as well: a call of theirs may still be under way. Safe to
    repeat.
    """
    user = (IdKind.USER, call.user_id)
    emails = identities.emails_of(connection, call.account_id, user)
    person = _Person(call.account_id, emails, {user}, subject_of_id(user))
    return _forget(connection, person, pseudonym, actor, call.at, call.received_at)


@dataclass(frozen=True, slots=True)
class Erased:
    """What an erasure came to."""

    profiles: int
    #: Subscribers of ProsperStack's that this service had written to.
    subscribers: int
    in_prosperstack: OnDelete


def erase_email(
    connection: Connection, account_id: str, email: str, pseudonym: Pseudonym, actor: str, now: int
) -> Erased:
    """Forget a person by an email (trimmed, in lower case), as of now, with the ids that came with it.

    What their calls say from now on is taken in anew. Safe to repeat.
    """
    profile = profiles.find(connection, account_id, email)
    emails, user_ids = {email}, [] if profile is None or profile.user_id is None else [profile.user_id]
    for user_id in user_ids:
        emails |= identities.emails_of(connection, account_id, (IdKind.USER, user_id))
    named = {(IdKind.USER, user_id) for user_id in user_ids}
    person = _Person(account_id, emails, named, subject_of_email(email))
    return _forget(connection, person, pseudonym, actor, now, now)


@dataclass(frozen=True, slots=True)
class _Person:
    """The person to erase: their emails, and the ids that the deletion names."""

    account_id: str
    emails: set[str]
    named: set[Key]
    #: The text that their pseudonym on the audit trail is made of.
    subject: str


def _forget(connection: Connection, person: _Person, pseudonym: Pseudonym, actor: str, at: int, now: int) -> Erased:
    """Delete everything that is stored of a person, clear ProsperStack later, and record it on the audit trail.

    ``at`` is the event time of the deletion: calls up to then do not bring the person back, by whichever of their
    emails and ids they name them.
    """
    account_id, emails = person.account_id, person.emails
    erased = profiles.erase(connection, account_id, emails)
    ids = {*person.named, *(key for ids, _ in erased for key in ids)}
    subjects = [*map(subject_of_email, emails), *map(subject_of_id, ids)]
    remember(connection, account_id, sorted(pseudonym(subject) for subject in subjects), at)
    identities.forget(connection, account_id, ids)
    if any(len(known) >= profiles.MAX_IDS for known, _ in erased):
        identities.forget_emails(connection, account_id, emails)  # the profile no longer has all of its ids
    remap_progress.forget(connection, account_id, emails)
    request_scrub(connection)
    held_calls.forget(connection, account_id, ids)
    sources.leave(connection, account_id, [traits for _, traits in erased])
    recent_calls.forget(connection, account_id, emails, ids, pseudonym)
    wrote = subscriber_rows.erase(connection, account_id, emails)
    wrote = subscription_states.erase(connection, account_id, wrote)
    on_delete = queue_remote_erasure(connection, account_id, wrote, now)
    details: dict[str, JsonValue] = {
        "subject": pseudonym(person.subject)[:_SHOWN],
        "profiles": len(erased),
        "subscribers": len(wrote),
        "in_prosperstack": on_delete.value,
    }
    audit_log.record(connection, account_id, now, actor=actor, action="erase", details=details)
    return Erased(len(erased), len(wrote), on_delete)


def queue_remote_erasure(
    connection: Connection, account_id: str, wrote: Mapping[str, Sequence[str]], now: int
) -> OnDelete:
    """Have done in ProsperStack what the account wants done for erased people.

    ``wrote`` has, by subscriber id, the keys of the properties that this service wrote.
    """
    on_delete = accounts.on_delete(connection, account_id)
    if on_delete is not OnDelete.NOTHING:
        delete_subscriber = on_delete is OnDelete.DELETE_SUBSCRIBER
        remote_erasures.add(connection, account_id, wrote, delete_subscriber=delete_subscriber, now=now)
    return on_delete
