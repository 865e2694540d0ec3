"""Transactions that erase a person and keep older calls from restoring them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue
from sqlalchemy import Connection

from prosperstack_destination.store import (
    accounts,
    activity,
    held_calls,
    identities,
    mappings,
    profiles,
    recent_calls,
    remote_erasures,
    sources,
    subscription_states,
)
from prosperstack_destination.store import subscribers as subscriber_rows
from prosperstack_destination.store.accounts import OnDelete
from prosperstack_destination.store.identities import Key
from prosperstack_destination.store.merge import MAX_IDS
from prosperstack_destination.store.models import Delete, IdKind
from prosperstack_destination.store.pseudonyms import Pseudonym, subject_of_email, subject_of_id
from prosperstack_destination.store.sqlite import request_scrub
from prosperstack_destination.store.tombstones import record

#: Number of characters of a pseudonym in the audit log.
_SUBJECT_LENGTH: Final = 12


def erase(connection: Connection, call: Delete, pseudonym: Pseudonym, actor: str = "segment") -> "ErasureResult":
    """Erase the person of a Delete call: profiles, IDs, recent calls and held calls. Safe to repeat.

    The transaction must hold the account's exclusive lock: see `store.statements.lock_account`. In ProsperStack the
    properties that this service wrote are cleared or the subscriber is deleted, by the account's setting. An
    unknown person is erased as well: a call about them may be on its way.
    """
    user = (IdKind.USER, call.user_id)
    emails = identities.emails_of(connection, call.account_id, user)
    person = _Person(call.account_id, emails, {user}, subject_of_id(user))
    return _erase_person(connection, person, pseudonym, actor, call.at, call.received_at)


@dataclass(frozen=True, slots=True)
class ErasureResult:
    """Result of an erasure."""

    profiles: int
    #: Number of ProsperStack subscribers that this service had written to.
    subscribers: int
    in_prosperstack: OnDelete


def erase_email(
    connection: Connection, account_id: str, email: str, pseudonym: Pseudonym, actor: str, now: int
) -> ErasureResult:
    """Erase a person by an email (trimmed, in lower case) as of now, with the email's external IDs. Safe to
    repeat.

    Later calls create a new profile.
    """
    profile = profiles.find(connection, account_id, email)
    emails, user_ids = {email}, [] if profile is None or profile.user_id is None else [profile.user_id]
    for user_id in user_ids:
        emails |= identities.emails_of(connection, account_id, (IdKind.USER, user_id))
    named = {(IdKind.USER, user_id) for user_id in user_ids}
    person = _Person(account_id, emails, named, subject_of_email(email))
    return _erase_person(connection, person, pseudonym, actor, now, now)


@dataclass(frozen=True, slots=True)
class _Person:
    """Person to erase: their emails, and the IDs that the deletion names."""

    account_id: str
    emails: set[str]
    named: set[Key]
    #: Text whose pseudonym the audit log shows.
    subject: str


def _erase_person(
    connection: Connection, person: _Person, pseudonym: Pseudonym, actor: str, at: int, now: int
) -> ErasureResult:
    """Delete all stored data of a person, queue the erasure in ProsperStack, and write the audit log.

    ``at`` is the event time of the deletion: calls up to then do not restore the person by any of the emails and
    IDs.
    """
    account_id, emails = person.account_id, person.emails
    erased = profiles.erase(connection, account_id, emails)
    ids = {*person.named, *(key for ids, _ in erased for key in ids)}
    subjects = [*map(subject_of_email, emails), *map(subject_of_id, ids)]
    record(connection, account_id, sorted(pseudonym(subject) for subject in subjects), at)
    identities.forget(connection, account_id, ids)
    if any(len(known) >= MAX_IDS for known, _ in erased):
        identities.forget_emails(connection, account_id, emails)  # a full profile has dropped IDs
    mappings.forget_emails(connection, account_id, emails)
    request_scrub(connection)
    held_calls.forget(connection, account_id, ids)
    sources.remove_members(connection, account_id, [traits for _, traits in erased])
    recent_calls.forget(connection, account_id, emails, ids, pseudonym)
    wrote = subscriber_rows.erase(connection, account_id, emails)
    wrote = subscription_states.erase(connection, account_id, wrote)
    on_delete = queue_remote_erasure(connection, account_id, wrote, now)
    details: dict[str, JsonValue] = {
        "subject": pseudonym(person.subject)[:_SUBJECT_LENGTH],
        "profiles": len(erased),
        "subscribers": len(wrote),
        "in_prosperstack": on_delete.value,
    }
    activity.record_action(connection, account_id, now, actor=actor, action="erase", details=details)
    return ErasureResult(len(erased), len(wrote), on_delete)


def queue_remote_erasure(
    connection: Connection, account_id: str, written: Mapping[str, Sequence[str]], now: int
) -> OnDelete:
    """Queue the erasure in ProsperStack that the account's setting asks for, and return the setting.

    ``written`` maps subscriber IDs to the keys of the properties that this service wrote.
    """
    on_delete = accounts.on_delete(connection, account_id)
    if on_delete is not OnDelete.NOTHING:
        delete_subscriber = on_delete is OnDelete.DELETE_SUBSCRIBER
        remote_erasures.add(connection, account_id, written, delete_subscriber=delete_subscriber, now=now)
    return on_delete
