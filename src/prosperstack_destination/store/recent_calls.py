"""Transactions on recent calls, stored as received for operators, without a guarantee of completeness.

Calls contain personal data: they are stored for a day at most, and an erasure deletes them.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby
from typing import Any, Final

from pydantic_core import to_json
from sqlalchemy import ColumnElement, Connection, Row, delete, false, func, insert, or_, select

from prosperstack_destination.clock import DAY
from prosperstack_destination.store import pseudonyms
from prosperstack_destination.store.identities import Identities, Key
from prosperstack_destination.store.pseudonyms import Pseudonym
from prosperstack_destination.store.statements import lock_account
from prosperstack_destination.store.tables import recent_calls
from prosperstack_destination.store.tombstones import Tombstones

#: Retention of a call, in microseconds.
RETENTION: Final = 1 * DAY
#: Maximum stored length of a call's text, in bytes.
MAX_BODY_BYTES: Final = 16 * 1024


class Channel(StrEnum):
    """Way by which a call arrived."""

    #: POST /v1/identify, from Segment's destinations.
    IDENTIFY = "identify"
    #: The account's URL, from Segment's Webhooks (Actions).
    WEBHOOK = "webhook"
    #: The HTTP Tracking API, from Segment's SDKs.
    TRACKING = "tracking"
    #: A test call of an operator.
    TEST = "test"


class CallOutcome(StrEnum):
    """Result of a recent call."""

    #: Merged into a profile, whether it changed anything or not.
    ACCEPTED = "accepted"
    #: Stored under its external ID until an email is known for it.
    HELD = "held"
    #: The person was erased.
    ERASED = "erased"
    #: Dry run: explained, and not stored.
    EXPLAINED = "explained"
    #: Older than the person's deletion.
    OUTDATED = "outdated"
    #: Its integrations object switches ProsperStack off.
    SKIPPED = "skipped"
    #: The account's mapping does not take it.
    FILTERED = "filtered"
    #: The person has not consented to what the account's mapping requires.
    NO_CONSENT = "no_consent"
    #: A type of the HTTP Tracking API that does not identify a person.
    IGNORED = "ignored"
    #: Invalid: rejected with an error.
    REFUSED = "refused"
    #: Failed temporarily: the sender was asked to retry.
    LATER = "later"


@dataclass(frozen=True, slots=True)
class IncomingCall:
    """Call to record, with its result."""

    account_id: str
    #: Arrival time and event time, in microseconds since the epoch.
    received_at: int
    at: int
    channel: Channel
    #: Type of the call, or "other".
    type: str
    outcome: CallOutcome
    #: Message in the response.
    message: str
    #: "kind:key" of the call's source, if it names one.
    source: str | None
    #: Email (in lower case) and external IDs (the user ID first) of the call, if readable.
    email: str | None
    ids: tuple[Key, ...]
    #: Text of the call, cut at `MAX_BODY_BYTES`, and its full length in bytes.
    body: str
    size: int


@dataclass(frozen=True, slots=True)
class RecentCall:
    """Recorded call."""

    id: int
    account_id: str
    #: Arrival time, in microseconds since the epoch.
    at: int
    type: str
    channel: Channel
    outcome: CallOutcome
    message: str
    source: str | None
    #: Pseudonyms of the email, sent or resolved by an ID, and of the best ID.
    subject: str | None
    id_subject: str | None
    #: Empty if the person was erased.
    body: str
    size: int


@dataclass(frozen=True, slots=True)
class CallQuery:
    """Filter of recent calls; None: any."""

    #: Pseudonyms of the person, by email or IDs.
    subjects: frozenset[str] | None = None
    type: str | None = None
    #: "kind:key", or a kind alone.
    source: str | None = None
    outcome: CallOutcome | None = None


def append(connection: Connection, new: Sequence[IncomingCall], pseudonym: Pseudonym, max_calls: int) -> None:
    """Record calls; ``most`` is the number of calls kept for each account.

    Of a person erased in the meantime only the fact and the result of the call are stored.
    """
    for account_id, group in groupby(sorted(new, key=lambda each: each.account_id), lambda each: each.account_id):
        lock_account(connection, account_id, exclusive=False)  # or a concurrent deletion would miss them
        connection.execute(insert(recent_calls), _rows(connection, account_id, list(group), pseudonym))
        of_account = recent_calls.c.account_id == account_id
        surplus = (
            select(recent_calls.c.id)
            .where(of_account)
            .order_by(recent_calls.c.id.desc())
            .offset(max_calls)
            .limit(1)
        )
        connection.execute(delete(recent_calls).where(of_account, recent_calls.c.id <= surplus.scalar_subquery()))


def page(
    connection: Connection,
    account_id: str,
    filters: CallQuery,
    *,
    since: int,
    before: int | None = None,
    limit: int,
) -> list[RecentCall]:
    """Return an account's calls since a time (microseconds), before an ID if given, the newest first."""
    query = select(recent_calls).where(recent_calls.c.account_id == account_id, recent_calls.c.at >= since)
    if before is not None:
        query = query.where(recent_calls.c.id < before)
    if filters.subjects is not None:
        query = query.where(_is_about(filters.subjects))
    if filters.type is not None:
        query = query.where(recent_calls.c.type == filters.type)
    if filters.source is not None:
        of_kind = recent_calls.c.source.startswith(f"{filters.source}:", autoescape=True)
        query = query.where((recent_calls.c.source == filters.source) | of_kind)
    if filters.outcome is not None:
        query = query.where(recent_calls.c.outcome == filters.outcome)
    return [_call(row) for row in connection.execute(query.order_by(recent_calls.c.id.desc()).limit(limit))]


def newest_id(connection: Connection, account_id: str) -> int:
    """Return the ID of an account's newest call; 0: none."""
    of_account = select(recent_calls.c.id).where(recent_calls.c.account_id == account_id)
    return connection.scalar(of_account.order_by(recent_calls.c.id.desc()).limit(1)) or 0


def get(connection: Connection, account_id: str, call_id: int) -> RecentCall | None:
    """Return an account's call with this ID, or None."""
    of_account = (recent_calls.c.account_id == account_id) & (recent_calls.c.id == call_id)
    row = connection.execute(select(recent_calls).where(of_account)).one_or_none()
    return None if row is None else _call(row)


def sources(connection: Connection, account_id: str) -> list[str]:
    """Return the sources of an account's calls, each as "kind:key", in alphabetical order."""
    source = recent_calls.c.source
    query = select(source).where(recent_calls.c.account_id == account_id, source.is_not(None))
    return list(connection.scalars(query.distinct().order_by(source)))


def forget(
    connection: Connection, account_id: str, emails: Collection[str], ids: Collection[Key], pseudonym: Pseudonym
) -> None:
    """Delete the calls of a person, those that mention them, and those without a readable email or ID."""
    unreadable = recent_calls.c.subject.is_(None) & recent_calls.c.user_subject.is_(None)
    body = func.lower(recent_calls.c.body)
    texts = [email.lower() for email in emails] + [to_json(each).decode().lower() for _, each in ids]
    mentioned = or_(false(), *(body.contains(text, autoescape=True) for text in texts))
    theirs = _is_about(subjects_of(emails, ids, pseudonym)) | mentioned | unreadable
    connection.execute(delete(recent_calls).where(recent_calls.c.account_id == account_id, theirs))


def subjects_of(emails: Iterable[str], ids: Iterable[Key], pseudonym: Pseudonym) -> frozenset[str]:
    """Return all pseudonyms of a person with these emails and IDs."""
    by_email = {pseudonyms.of_email(pseudonym, email) for email in emails}
    return frozenset(by_email | {pseudonyms.of_id(pseudonym, key) for key in ids})


def _rows(
    connection: Connection, account_id: str, new: Sequence[IncomingCall], pseudonym: Pseudonym
) -> list[dict[str, Any]]:
    identities = Identities(connection, account_id, {key for each in new if not each.email for key in each.ids})
    emails = [each.email or identities.email(each.ids) for each in new]
    ids = {key for each in new for key in each.ids}
    known = {email for email in emails if email}
    now = max(each.received_at for each in new)
    erasures = Tombstones(connection, account_id, ids, known, pseudonym, now)
    rows = []
    for each, email in zip(new, emails, strict=True):
        # An accepted call has an email, at least by its IDs. If none is found now, the person was erased.
        gone = each.outcome is CallOutcome.ACCEPTED and email is None
        erased = gone or erasures.is_outdated(None, email, each.at) or erasures.covers_ids(each.ids, each.at)
        rows.append(
            {
                "account_id": account_id,
                "at": each.received_at,
                "type": each.type,
                "way": each.channel,
                "outcome": each.outcome,
                "message": each.message,
                "source": each.source,
                "subject": None if email is None else pseudonyms.of_email(pseudonym, email),
                "user_subject": pseudonyms.of_id(pseudonym, each.ids[0]) if each.ids else None,
                "body": "" if erased else each.body,
                "size": each.size,
            }
        )
    return rows


def _is_about(subjects: Collection[str]) -> ColumnElement[bool]:
    return recent_calls.c.subject.in_(subjects) | recent_calls.c.user_subject.in_(subjects)


def _call(row: Row[Any]) -> RecentCall:
    return RecentCall(
        id=row.id,
        account_id=row.account_id,
        at=row.at,
        type=row.type,
        channel=Channel(row.way),
        outcome=CallOutcome(row.outcome),
        message=row.message,
        source=row.source,
        subject=row.subject,
        id_subject=row.user_subject,
        body=row.body,
        size=row.size,
    )
