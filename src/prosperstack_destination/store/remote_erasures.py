"""Transactions on the queue of erasures to carry out in ProsperStack."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, delete, insert, select, update

from prosperstack_destination.store import json_codec
from prosperstack_destination.store.tables import clearings

#: Reason of a retry after ProsperStack reported that the subscriber does not exist.
GONE: Final = "ProsperStack says that the subscriber is gone: it is asked once more."
#: Maximum number of queue entries that are searched for failed ones.
SCAN_LIMIT: Final = 5_000


@dataclass(frozen=True, slots=True)
class RemoteErasure:
    """Queued erasure of one subscriber."""

    subscriber_id: str
    #: Keys of the properties whose values are deleted.
    properties: tuple[str, ...]
    #: True if the subscriber itself is deleted.
    delete_subscriber: bool
    #: Number of consecutive failed attempts.
    attempts: int
    #: Reason of the latest failure.
    reason: str | None = None


def add(
    connection: Connection,
    account_id: str,
    written: Mapping[str, Sequence[str]],
    *,
    delete_subscriber: bool,
    now: int,
) -> None:
    """Queue the clearing of properties, or the deletion, of subscribers.

    ``written`` maps subscriber IDs to property keys, which are added to those that are queued already.
    """
    for subscriber_id, keys in written.items():
        if not (keys or delete_subscriber):
            continue
        asked = connection.execute(select(clearings.c.properties).where(_is_of(account_id, subscriber_id))).scalar()
        remove(connection, account_id, subscriber_id)
        connection.execute(
            insert(clearings).values(
                account_id=account_id,
                subscriber_id=subscriber_id,
                properties=json_codec.dump(sorted({*keys, *(json_codec.load(asked) if asked else ())})),
                delete_subscriber=delete_subscriber,
                due_at=now,
                attempts=0,
            )
        )


@dataclass(frozen=True, slots=True)
class FailedRemoteErasure:
    """Queued erasure whose latest attempt failed."""

    erasure: RemoteErasure
    #: Time of the next attempt, in microseconds.
    due_at: int


def failed(connection: Connection, account_id: str, now: int, limit: int) -> list[FailedRemoteErasure]:
    """Return erasures whose latest attempt failed, the next to be retried first.

    It searches the first `SCAN_LIMIT` of those that are due and of those that wait: the queue may be as long as the
    list of all subscribers, with failures among entries that were not tried yet.
    """
    found: list[FailedRemoteErasure] = []
    for when in (clearings.c.due_at <= now, clearings.c.due_at > now):
        next_ones = (
            select(clearings)
            .where(clearings.c.account_id == account_id, when)
            .order_by(clearings.c.due_at)
            .limit(SCAN_LIMIT)
            .subquery()
        )
        tried = select(next_ones).where(next_ones.c.attempts > 0).order_by(next_ones.c.due_at)
        rows = connection.execute(tried.limit(limit - len(found)))
        found += [FailedRemoteErasure(_remote_erasure(row), row.due_at) for row in rows]
    return found


def due(connection: Connection, account_id: str, now: int, limit: int) -> list[RemoteErasure]:
    """Return erasures that are due, the longest due first."""
    rows = connection.execute(
        select(clearings)
        .where(clearings.c.account_id == account_id, clearings.c.due_at <= now)
        .order_by(clearings.c.due_at)
        .limit(limit)
    )
    return [_remote_erasure(row) for row in rows]


def remove(connection: Connection, account_id: str, subscriber_id: str) -> None:
    """Remove a subscriber's erasure from the queue: it is done, or the subscriber does not exist."""
    connection.execute(delete(clearings).where(_is_of(account_id, subscriber_id)))


def postpone(connection: Connection, account_id: str, erasure: RemoteErasure, until: int, reason: str) -> None:
    """Postpone an erasure after a failed attempt, until a time (microseconds)."""
    connection.execute(
        update(clearings)
        .where(_is_of(account_id, erasure.subscriber_id))
        .values(due_at=until, attempts=erasure.attempts + 1, reason=reason)
    )


def retry_failed(connection: Connection, account_id: str, now: int) -> None:
    """Make failed erasures due now, except those of subscribers that ProsperStack reported as missing."""
    failed = (clearings.c.account_id == account_id) & (clearings.c.attempts > 0) & (clearings.c.due_at > now)
    connection.execute(update(clearings).where(failed, clearings.c.reason != GONE).values(due_at=now))


def _remote_erasure(row: Row[Any]) -> RemoteErasure:
    keys = tuple(json_codec.load(row.properties))
    return RemoteErasure(row.subscriber_id, keys, row.delete_subscriber, row.attempts, row.reason)


def _is_of(account_id: str, subscriber_id: str) -> ColumnElement[bool]:
    return (clearings.c.account_id == account_id) & (clearings.c.subscriber_id == subscriber_id)
