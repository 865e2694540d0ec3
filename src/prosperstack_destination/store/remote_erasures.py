"""Units of work on clearings: what is to be undone in ProsperStack for people who were erased."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, delete, insert, select, update

from prosperstack_destination.store import json_codec
from prosperstack_destination.store.tables import clearings

#: Why a clearing is put off where ProsperStack says that there is no such subscriber.
GONE: Final = "ProsperStack says that the subscriber is gone: it is asked once more."
#: So many of a queue are looked at for those that failed.
LOOKED_AT: Final = 5_000


@dataclass(frozen=True, slots=True)
class RemoteErasure:
    """One subscriber of somebody who was erased."""

    subscriber_id: str
    #: The keys of the properties whose values are to be deleted.
    properties: tuple[str, ...]
    #: The subscriber is to be deleted altogether.
    delete_subscriber: bool
    #: How many attempts in a row failed.
    attempts: int
    #: Why the latest did.
    reason: str | None = None


def add(
    connection: Connection,
    account_id: str,
    wrote: Mapping[str, Sequence[str]],
    *,
    delete_subscriber: bool,
    now: int,
) -> None:
    """Have subscribers cleared of properties, by id and keys, or deleted; added to what was asked for before."""
    for subscriber_id, keys in wrote.items():
        if not (keys or delete_subscriber):
            continue
        asked = connection.execute(select(clearings.c.properties).where(_is(account_id, subscriber_id))).scalar()
        done(connection, account_id, subscriber_id)
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
    """A subscriber who could not be cleared, and is tried again."""

    clearing: RemoteErasure
    #: When the next one is, in microseconds.
    due_at: int


def failed(connection: Connection, account_id: str, now: int, limit: int) -> list[FailedRemoteErasure]:
    """Whose latest attempt failed, the next to be tried first.

    Those who wait for another attempt, and of those who are due by now the ones among the first `LOOKED_AT`: a
    queue may be as long as everybody who was ever written to, and a failure stands among what was not tried yet.
    """
    found: list[FailedRemoteErasure] = []
    for when in (clearings.c.due_at <= now, clearings.c.due_at > now):
        next_ones = (
            select(clearings)
            .where(clearings.c.account_id == account_id, when)
            .order_by(clearings.c.due_at)
            .limit(LOOKED_AT)
            .subquery()
        )
        tried = select(next_ones).where(next_ones.c.attempts > 0).order_by(next_ones.c.due_at)
        rows = connection.execute(tried.limit(limit - len(found)))
        found += [FailedRemoteErasure(_clearing(row), row.due_at) for row in rows]
    return found


def due(connection: Connection, account_id: str, now: int, limit: int) -> list[RemoteErasure]:
    """What is to be cleared by now, the longest due first."""
    rows = connection.execute(
        select(clearings)
        .where(clearings.c.account_id == account_id, clearings.c.due_at <= now)
        .order_by(clearings.c.due_at)
        .limit(limit)
    )
    return [_clearing(row) for row in rows]


def done(connection: Connection, account_id: str, subscriber_id: str) -> None:
    """A subscriber is cleared, or is not there."""
    connection.execute(delete(clearings).where(_is(account_id, subscriber_id)))


def postpone(connection: Connection, account_id: str, clearing: RemoteErasure, until: int, reason: str) -> None:
    """An attempt failed: try again then."""
    connection.execute(
        update(clearings)
        .where(_is(account_id, clearing.subscriber_id))
        .values(due_at=until, attempts=clearing.attempts + 1, reason=reason)
    )


def retry_failed(connection: Connection, account_id: str, now: int) -> None:
    """Have what failed tried now; who is said to be gone is asked about again in time."""
    failed = (clearings.c.account_id == account_id) & (clearings.c.attempts > 0) & (clearings.c.due_at > now)
    connection.execute(update(clearings).where(failed, clearings.c.reason != GONE).values(due_at=now))


def _clearing(row: Row[Any]) -> RemoteErasure:
    keys = tuple(json_codec.load(row.properties))
    return RemoteErasure(row.subscriber_id, keys, row.delete_subscriber, row.attempts, row.reason)


def _is(account_id: str, subscriber_id: str) -> ColumnElement[bool]:
    return (clearings.c.account_id == account_id) & (clearings.c.subscriber_id == subscriber_id)
