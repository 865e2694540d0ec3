"""Units of work on the feed of events: what happened lately, for people to look at. It is no record."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from pydantic import JsonValue
from sqlalchemy import Connection, Row, delete, func, insert, select

from prosperstack_destination.store import json_codec
from prosperstack_destination.store.tables import events

#: Events that are kept, of all accounts together; the oldest go.
KEPT: Final = 20_000


class EventKind(StrEnum):
    """What an event tells of."""

    #: A call from Segment.
    CALL = "call"
    #: What came of somebody's properties.
    DELIVERY = "delivery"
    #: A request to ProsperStack that was somebody's, or did not succeed.
    REQUEST = "request"
    #: Somebody began to cancel.
    CANCEL_FLOW = "cancel flow"


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened."""

    account_id: str
    #: In microseconds since the epoch.
    at: int
    kind: EventKind
    #: In a word or two, as in ``accepted``.
    outcome: str
    #: What stands for the person (see `Vault.pseudonym`); None: nobody in particular.
    subject: str | None
    #: Neither personal data nor a key.
    details: Mapping[str, JsonValue]


@dataclass(frozen=True, slots=True)
class SentRequest:
    """A request to ProsperStack, and what came back."""

    account_id: str
    #: What was asked, without whom it was about, as in ``PATCH /subscribers/{id}``.
    request: str
    #: Whose it was, in lower case; None: nobody's in particular.
    email: str | None
    #: The subscriber or the subscription, by its id, where it named one.
    target: str | None
    #: The keys of the properties that were sent.
    properties: tuple[str, ...]
    #: None: no answer came.
    status: int | None
    seconds: float
    #: What ProsperStack said of a failure, without anybody's data.
    words: str

    @property
    def succeeded(self) -> bool:
        """Whether ProsperStack did it."""
        return self.status is not None and self.status // 100 == 2


def append(connection: Connection, new: Sequence[Event]) -> None:
    """Add events, and let the oldest go."""
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
    connection.execute(delete(events).where(events.c.id <= newest - KEPT))


def of_subject(connection: Connection, account_id: str, subject: str, since: int, limit: int) -> list[Event]:
    """What happened to a person from a time on (microseconds), the earliest first."""
    query = select(events).where(
        events.c.account_id == account_id, events.c.subject == subject, events.c.at >= since
    )
    return [_event(row) for row in connection.execute(query.order_by(events.c.id).limit(limit))]


def latest(
    connection: Connection, account_id: str, *, limit: int, after: int = 0, subject: str | None = None
) -> tuple[list[Event], int]:
    """An account's newest events after an id, the oldest of them first, and the id of the last one."""
    query = select(events).where(events.c.account_id == account_id, events.c.id > after)
    if subject is not None:
        query = query.where(events.c.subject == subject)
    rows = connection.execute(query.order_by(events.c.id.desc()).limit(limit)).all()
    return [_event(row) for row in reversed(rows)], rows[0].id if rows else after


def _event(row: Row[Any]) -> Event:
    details = json_codec.load(row.details)
    return Event(row.account_id, row.at, EventKind(row.kind), row.outcome, row.subject, details)
