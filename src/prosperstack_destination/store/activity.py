"""Transactions on what happened: the activity feed and the audit log.

The feed has recent events for operators, without a guarantee of completeness. The audit log has all actions of
operators and of Segment, without personal data.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from pydantic import JsonValue
from sqlalchemy import Connection, Row, delete, func, insert, select

from prosperstack_destination.store import json_codec
from prosperstack_destination.store.tables import audit, events

#: Number of stored events of all accounts; the oldest are deleted.
MAX_EVENTS: Final = 20_000


class EventKind(StrEnum):
    """Kind of an event."""

    #: A call from Segment.
    CALL = "call"
    #: Result of a profile's delivery.
    DELIVERY = "delivery"
    #: A request to ProsperStack for a profile, or a failed request.
    REQUEST = "request"
    #: A person started a cancel flow.
    CANCEL_FLOW = "cancel flow"


@dataclass(frozen=True, slots=True)
class Event:
    """Event of the activity feed."""

    account_id: str
    #: In microseconds since the epoch.
    at: int
    kind: EventKind
    #: One or two words, such as ``accepted``.
    outcome: str
    #: Pseudonym of the person (see `Vault.pseudonym`); None: no single person.
    subject: str | None
    #: Details without personal data or keys.
    details: Mapping[str, JsonValue]


@dataclass(frozen=True, slots=True)
class SentRequest:
    """Request to ProsperStack with its result."""

    account_id: str
    #: Method and path without IDs, such as ``PATCH /subscribers/{id}``.
    request: str
    #: Email of its profile, in lower case; None: no single profile.
    email: str | None
    #: ID of the subscriber or subscription in the path, if any.
    target: str | None
    #: Keys of the properties in the request.
    properties: tuple[str, ...]
    #: Status of the response; None: no response.
    status: int | None
    seconds: float
    #: ProsperStack's error message, without personal data.
    error: str

    @property
    def succeeded(self) -> bool:
        """True if the response has a 2xx status."""
        return self.status is not None and self.status // 100 == 2


def append(connection: Connection, new: Sequence[Event]) -> None:
    """Add events and delete the oldest."""
    connection.execute(
        insert(events),
        [
            {
                "account_id": each.account_id,
                "at": each.at,
                "kind": each.kind,
                "outcome": each.outcome,
                "subject": each.subject,
                "details": json_codec.dump(each.details),
            }
            for each in new
        ],
    )
    newest = connection.execute(select(func.max(events.c.id))).scalar_one()
    connection.execute(delete(events).where(events.c.id <= newest - MAX_EVENTS))


def of_subject(connection: Connection, account_id: str, subject: str, since: int, limit: int) -> list[Event]:
    """Return a person's events since a time (microseconds), the earliest first."""
    query = select(events).where(
        events.c.account_id == account_id, events.c.subject == subject, events.c.at >= since
    )
    return [_event(row) for row in connection.execute(query.order_by(events.c.id).limit(limit))]


def latest(
    connection: Connection, account_id: str, *, limit: int, after: int = 0, subject: str | None = None
) -> tuple[list[Event], int]:
    """Return an account's newest events after an ID, the oldest first, and the ID of the last one."""
    query = select(events).where(events.c.account_id == account_id, events.c.id > after)
    if subject is not None:
        query = query.where(events.c.subject == subject)
    rows = connection.execute(query.order_by(events.c.id.desc()).limit(limit)).all()
    return [_event(row) for row in reversed(rows)], rows[0].id if rows else after


def _event(row: Row[Any]) -> Event:
    details = json_codec.load(row.details)
    return Event(row.account_id, row.at, EventKind(row.kind), row.outcome, row.subject, details)


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Entry of the audit log."""

    account_id: str
    #: In microseconds since the epoch.
    at: int
    #: "segment", or the name of the operator.
    actor: str
    action: str
    details: Mapping[str, JsonValue]


def record_action(
    connection: Connection, account_id: str, at: int, *, actor: str, action: str, details: Mapping[str, JsonValue]
) -> None:
    """Add an entry. The details must not contain personal data or keys."""
    connection.execute(
        insert(audit).values(
            account_id=account_id, at=at, actor=actor, action=action, details=json_codec.dump(details)
        )
    )


def recent_actions(connection: Connection, account_id: str, limit: int) -> list[AuditEntry]:
    """Return an account's latest entries, the newest first."""
    rows = connection.execute(
        select(audit).where(audit.c.account_id == account_id).order_by(audit.c.id.desc()).limit(limit)
    )
    return [AuditEntry(row.account_id, row.at, row.actor, row.action, json_codec.load(row.details)) for row in rows]
