"""Units of work on the calls that came in lately, as they came: for people to look at, and no record of anything.

What a call says is personal data: it is kept for a day at most, and goes with the person whom it names.
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
from prosperstack_destination.store.dialects import lock_account
from prosperstack_destination.store.identities import Identities, Key
from prosperstack_destination.store.pseudonyms import Pseudonym
from prosperstack_destination.store.tables import recent_calls
from prosperstack_destination.store.tombstones import Tombstones

#: How long a call is kept, in microseconds.
KEPT_FOR: Final = 1 * DAY
#: How much of a call's text is kept, in bytes.
BODY_BYTES: Final = 16 * 1024


class Channel(StrEnum):
    """How a call came."""

    #: As Segment's destinations send it.
    IDENTIFY = "identify"
    #: To an account's URL, as Segment's Webhooks (Actions) send it.
    WEBHOOK = "webhook"
    #: By the HTTP Tracking API, as Segment's SDKs send it.
    TRACKING = "tracking"
    #: An operator tried it.
    TEST = "test"


class CallOutcome(StrEnum):
    """What became of a call."""

    #: Merged into a profile; also where it said nothing new.
    ACCEPTED = "accepted"
    #: Kept under its id until an email is known for it.
    HELD = "held"
    #: The person was forgotten.
    ERASED = "erased"
    #: It was explained, and not kept: a dry run.
    EXPLAINED = "explained"
    #: It is older than the person's deletion.
    OUTDATED = "outdated"
    #: Its integrations switch ProsperStack off.
    SKIPPED = "skipped"
    #: It is of a type that says nothing of who somebody is, by the HTTP Tracking API.
    IGNORED = "ignored"
    #: It is at fault.
    REFUSED = "refused"
    #: It could not be taken just then, and its sender was told to send it again.
    LATER = "later"


@dataclass(frozen=True, slots=True)
class IncomingCall:
    """A call that came in, and what became of it."""

    account_id: str
    #: When it got here, and its own time, in microseconds since the epoch.
    received_at: int
    at: int
    channel: Channel
    #: In a word: a type that there is, or "other".
    type: str
    outcome: CallOutcome
    #: What its sender was told.
    message: str
    #: "kind:key", where it names where it comes from.
    source: str | None
    #: Whom it names, as far as that can be made out: the email, in lower case, and the ids, the best first.
    email: str | None
    ids: tuple[Key, ...]
    #: Its text, cut at `BODY_BYTES`, and how long that was, in bytes.
    body: str
    size: int


@dataclass(frozen=True, slots=True)
class RecentCall:
    """A call that was kept."""

    id: int
    account_id: str
    #: When it got here, in microseconds since the epoch.
    at: int
    type: str
    channel: Channel
    outcome: CallOutcome
    message: str
    source: str | None
    #: What stands for its email, also where its ids told it, and for its best id.
    subject: str | None
    id_subject: str | None
    #: Empty where nothing of it is kept: the person was erased.
    body: str
    size: int


@dataclass(frozen=True, slots=True)
class CallQuery:
    """Which calls are looked for; None: any."""

    #: What may stand for the person, by whichever of email and ids.
    subjects: frozenset[str] | None = None
    type: str | None = None
    #: "kind:key", or a kind alone.
    source: str | None = None
    outcome: CallOutcome | None = None


def append(connection: Connection, new: Sequence[IncomingCall], pseudonym: Pseudonym, most: int) -> None:
    """Keep calls; of an account the newest ``most`` stay.

    What somebody said who was erased meanwhile is not kept: only that there was a call, and what became of it.
    """
    for account_id, group in groupby(sorted(new, key=lambda each: each.account_id), lambda each: each.account_id):
        lock_account(connection, account_id, exclusive=False)  # or a deletion just now would not see them
        connection.execute(insert(recent_calls), _rows(connection, account_id, list(group), pseudonym))
        mine = recent_calls.c.account_id == account_id
        surplus = select(recent_calls.c.id).where(mine).order_by(recent_calls.c.id.desc()).offset(most).limit(1)
        connection.execute(delete(recent_calls).where(mine, recent_calls.c.id <= surplus.scalar_subquery()))


def page(
    connection: Connection, account_id: str, wanted: CallQuery, *, since: int, before: int | None = None, limit: int
) -> list[RecentCall]:
    """An account's calls from a time on (microseconds), the newest first; those before an id."""
    query = select(recent_calls).where(recent_calls.c.account_id == account_id, recent_calls.c.at >= since)
    if before is not None:
        query = query.where(recent_calls.c.id < before)
    if wanted.subjects is not None:
        query = query.where(_about(wanted.subjects))
    if wanted.type is not None:
        query = query.where(recent_calls.c.type == wanted.type)
    if wanted.source is not None:
        of_kind = recent_calls.c.source.startswith(f"{wanted.source}:", autoescape=True)
        query = query.where((recent_calls.c.source == wanted.source) | of_kind)
    if wanted.outcome is not None:
        query = query.where(recent_calls.c.outcome == wanted.outcome)
    return [_call(row) for row in connection.execute(query.order_by(recent_calls.c.id.desc()).limit(limit))]


def newest_id(connection: Connection, account_id: str) -> int:
    """The id of an account's newest call; 0: there is none."""
    mine = select(recent_calls.c.id).where(recent_calls.c.account_id == account_id)
    return connection.scalar(mine.order_by(recent_calls.c.id.desc()).limit(1)) or 0


def get(connection: Connection, account_id: str, call_id: int) -> RecentCall | None:
    """The call with this id, if the account has it."""
    mine = (recent_calls.c.account_id == account_id) & (recent_calls.c.id == call_id)
    row = connection.execute(select(recent_calls).where(mine)).one_or_none()
    return None if row is None else _call(row)


def sources(connection: Connection, account_id: str) -> list[str]:
    """Where an account's calls came from, each "kind:key", in the order of the alphabet."""
    source = recent_calls.c.source
    query = select(source).where(recent_calls.c.account_id == account_id, source.is_not(None))
    return list(connection.scalars(query.distinct().order_by(source)))


def forget(
    connection: Connection, account_id: str, emails: Collection[str], ids: Collection[Key], pseudonym: Pseudonym
) -> None:
    """Delete the calls of a person, those that mention them, and those without a readable email or id."""
    unreadable = recent_calls.c.subject.is_(None) & recent_calls.c.user_subject.is_(None)
    body = func.lower(recent_calls.c.body)
    texts = [email.lower() for email in emails] + [to_json(each).decode().lower() for _, each in ids]
    mentioned = or_(false(), *(body.contains(text, autoescape=True) for text in texts))
    theirs = _about(subjects_of(emails, ids, pseudonym)) | mentioned | unreadable
    connection.execute(delete(recent_calls).where(recent_calls.c.account_id == account_id, theirs))


def subjects_of(emails: Iterable[str], ids: Iterable[Key], pseudonym: Pseudonym) -> frozenset[str]:
    """All that may stand for a person with these emails and ids."""
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
        # An accepted call's email was known, if only by its ids: if it is not any more, they were erased.
        gone = each.outcome is CallOutcome.ACCEPTED and email is None
        erased = gone or erasures.is_outdated(None, email, each.at) or erasures.covers(each.ids, each.at)
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


def _about(whom: Collection[str]) -> ColumnElement[bool]:
    return recent_calls.c.subject.in_(whom) | recent_calls.c.user_subject.in_(whom)


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
