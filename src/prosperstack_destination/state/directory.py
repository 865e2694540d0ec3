"""Units of work on the directory: which subscribers ProsperStack has, and what we last settled there."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import JsonValue
from sqlalchemy import Connection, Row, delete, insert, select, update

from prosperstack_destination.state import json_text
from prosperstack_destination.state.tables import subscribers


@dataclass(frozen=True, slots=True)
class Subscriber:
    """One subscriber of ProsperStack's, as last seen."""

    id: str
    #: Trimmed and in lower case.
    email: str
    #: Property keys to values, as ProsperStack last showed them. A property without a value is not in it.
    observed: Mapping[str, JsonValue]
    #: Property keys to the values last settled: sent, or found to be there already.
    applied: Mapping[str, JsonValue]
    #: Property keys to (value, reason) that ProsperStack rejected.
    set_aside: Mapping[str, tuple[JsonValue, str]]


@dataclass(frozen=True, slots=True)
class Seen:
    """What a ProsperStack answer said of one subscriber."""

    id: str
    email: str
    observed: Mapping[str, JsonValue]
    #: Its id in the billing platform, where one was shown.
    platform_id: str | None = None


def with_email(connection: Connection, account_id: str, email: str) -> list[Subscriber]:
    """The subscribers that are known to have this email (trimmed, in lower case), by id."""
    rows = connection.execute(
        select(subscribers)
        .where(subscribers.c.account_id == account_id, subscribers.c.email == email)
        .order_by(subscribers.c.id)
    )
    return [_subscriber(row) for row in rows]


def observe(connection: Connection, account_id: str, email: str, seen: Iterable[Seen], now: int) -> None:
    """Note that exactly these subscribers have an email: others that were known to have it are forgotten.

    What was applied to those that stay is kept.
    """
    by_id = {each.id: each for each in seen}
    connection.execute(
        delete(subscribers).where(
            subscribers.c.account_id == account_id,
            subscribers.c.email == email,
            subscribers.c.id.not_in(list(by_id)),
        )
    )
    for each in by_id.values():
        _store(connection, account_id, each, now)


def _store(connection: Connection, account_id: str, seen: Seen, now: int) -> None:
    values = {
        "email": seen.email,
        "platform_id": seen.platform_id,
        "observed": json_text.dump(seen.observed),
        "observed_at": now,
    }
    known = connection.execute(
        update(subscribers)
        .where(subscribers.c.account_id == account_id, subscribers.c.id == seen.id)
        .values(values)
    )
    if known.rowcount == 0:
        connection.execute(
            insert(subscribers).values(account_id=account_id, id=seen.id, applied="{}", set_aside="{}", **values)
        )


def mark_applied(
    connection: Connection,
    account_id: str,
    subscriber_id: str,
    applied: Mapping[str, JsonValue],
    *,
    observed: Mapping[str, JsonValue] | None,
    now: int,
) -> None:
    """Note values that are settled on a subscriber, and what ProsperStack showed of it, where it did."""
    row = connection.execute(
        select(subscribers.c.applied).where(
            subscribers.c.account_id == account_id, subscribers.c.id == subscriber_id
        )
    ).one_or_none()
    if row is None:
        return
    values: dict[str, Any] = {"applied": json_text.dump({**json_text.load(row.applied), **applied})}
    if observed is not None:
        values |= {"observed": json_text.dump(observed), "observed_at": now}
    connection.execute(
        update(subscribers)
        .where(subscribers.c.account_id == account_id, subscribers.c.id == subscriber_id)
        .values(values)
    )


def set_aside(
    connection: Connection, account_id: str, subscriber_id: str, key: str, value: JsonValue, reason: str
) -> None:
    """Note that ProsperStack rejected a value, and why; it is not sent again until it is another one."""
    row = connection.execute(
        select(subscribers.c.set_aside).where(
            subscribers.c.account_id == account_id, subscribers.c.id == subscriber_id
        )
    ).one_or_none()
    if row is None:
        return
    connection.execute(
        update(subscribers)
        .where(subscribers.c.account_id == account_id, subscribers.c.id == subscriber_id)
        .values(set_aside=json_text.dump({**json_text.load(row.set_aside), key: (value, reason)}))
    )


def forget(connection: Connection, account_id: str, subscriber_id: str) -> None:
    """Drop a subscriber that ProsperStack says is not there."""
    connection.execute(
        delete(subscribers).where(subscribers.c.account_id == account_id, subscribers.c.id == subscriber_id)
    )


def erase(connection: Connection, account_id: str, emails: Collection[str]) -> dict[str, list[str]]:
    """Drop the subscribers with these emails; by id, the keys of the properties that were settled there."""
    known = (subscribers.c.account_id == account_id) & subscribers.c.email.in_(list(emails))
    rows = connection.execute(select(subscribers.c.id, subscribers.c.applied).where(known)).all()
    connection.execute(delete(subscribers).where(known))
    return {row.id: sorted(json_text.load(row.applied)) for row in rows}


def _subscriber(row: Row[Any]) -> Subscriber:
    set_aside = {key: (value, reason) for key, (value, reason) in json_text.load(row.set_aside).items()}
    return Subscriber(
        id=row.id,
        email=row.email,
        observed=json_text.load(row.observed),
        applied=json_text.load(row.applied),
        set_aside=set_aside,
    )
