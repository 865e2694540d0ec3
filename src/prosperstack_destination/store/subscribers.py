"""Transactions on subscribers: their last observed values and the values that this service applied."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import JsonValue
from sqlalchemy import Connection, bindparam, delete, func, insert, select, update

from prosperstack_destination.store import json_codec
from prosperstack_destination.store.models import Status
from prosperstack_destination.store.statements import BulkInsert, BulkSelect, BulkUpdate
from prosperstack_destination.store.tables import profiles, subscribers

_INSERT = BulkInsert(
    subscribers, ["account_id", "id", "email", "platform_id", "observed", "observed_at", "applied", "set_aside"]
)
_UPDATE = BulkUpdate(subscribers, ["account_id", "id"], ["email", "platform_id", "observed", "observed_at"])
_UPDATE_STATE = BulkUpdate(subscribers, ["account_id", "id"], ["applied", "unsure", "observed", "observed_at"])
_STATE = BulkSelect(
    subscribers,
    ["account_id", "id"],
    ["account_id", "id", "applied", "unsure", "observed", "observed_at"],
    lock="ORDER BY subscribers.account_id, subscribers.id FOR UPDATE OF subscribers",
)
_STATES: Final = select(subscribers.c.id, subscribers.c.applied, subscribers.c.unsure).where(
    subscribers.c.account_id == bindparam("account"), subscribers.c.id.in_(bindparam("ids", expanding=True))
)
_UPDATE_APPLIED = BulkUpdate(subscribers, ["account_id", "id"], ["applied", "unsure"])
_BY_EMAILS = BulkSelect(
    subscribers,
    ["account_id", "email"],
    ["account_id", "id", "email", "observed", "applied", "set_aside", "observed_at", "unsure"],
)


@dataclass(frozen=True, slots=True)
class Subscriber:
    """ProsperStack subscriber, as last observed."""

    id: str
    #: Trimmed and in lower case.
    email: str
    #: Values that ProsperStack showed last, by property key. A property without a value is missing.
    observed: Mapping[str, JsonValue]
    #: Values that are known to be applied, by property key: sent, or already present.
    applied: Mapping[str, JsonValue]
    #: Rejected values with ProsperStack's reasons, by property key.
    rejected: Mapping[str, tuple[JsonValue, str]]
    #: Time of the last observation, in microseconds since the epoch.
    observed_at: int = 0
    #: Keys of properties that were sent, or are about to be, without a known result.
    unconfirmed: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class SubscriberSnapshot:
    """One subscriber in a response of ProsperStack."""

    id: str
    email: str
    observed: Mapping[str, JsonValue]
    #: ID in the billing platform, if the response had one.
    platform_id: str | None = None


def with_email(connection: Connection, account_id: str, email: str) -> list[Subscriber]:
    """Return the known subscribers with an email (trimmed, in lower case), by ID."""
    return with_emails(connection, account_id, [email]).get(email, [])


def with_emails(connection: Connection, account_id: str, emails: Collection[str]) -> dict[str, list[Subscriber]]:
    """Return the known subscribers with any of these emails, by email, each list sorted by ID."""
    found = of_addresses(connection, [(account_id, email) for email in emails])
    return {email: subscribers_found for (_, email), subscribers_found in found.items()}


def of_addresses(
    connection: Connection, addresses: Iterable[tuple[str, str]]
) -> dict[tuple[str, str], list[Subscriber]]:
    """Return the known subscribers with these emails in these accounts, each list sorted by ID."""
    found: dict[tuple[str, str], list[Subscriber]] = {}
    # Sorted here: with an ORDER BY of the ID SQLite would scan all of the account's subscribers.
    for row in sorted(_BY_EMAILS.rows(connection, addresses), key=lambda row: row.id):
        found.setdefault((row.account_id, row.email), []).append(_subscriber(row))
    return found


def replace_for_email(
    connection: Connection, account_id: str, email: str, snapshots: Iterable[SubscriberSnapshot], at: int
) -> bool:
    """Record that exactly these subscribers had an email at a time; return whether others were forgotten.

    Their applied values are kept. Later observations win: a listing may have overtaken the lookup.
    """
    by_id = {each.id: each for each in snapshots}
    forgotten = connection.execute(
        delete(subscribers).where(
            subscribers.c.account_id == account_id,
            subscribers.c.email == email,
            subscribers.c.id.not_in(list(by_id)),
            subscribers.c.observed_at <= at,
        )
    ).rowcount
    for each in by_id.values():
        _store(connection, account_id, each, at)
    return forgotten > 0


def upsert_page(
    connection: Connection,
    account_id: str,
    snapshots: Sequence[SubscriberSnapshot],
    now: int,
    *,
    fresh_for: int | None = None,
) -> set[str]:
    """Record a page of a listing, as of ``now``; return the emails with changes.

    These are the emails of new subscribers and of those with other properties, and both emails of one whose email
    changed. Unchanged subscribers are not written, nor those observed less than ``fresh_for`` microseconds
    before.
    """
    shown = (subscribers.c.email, subscribers.c.platform_id, subscribers.c.observed, subscribers.c.observed_at)
    known = {
        row.id: row
        for row in connection.execute(
            select(subscribers.c.id, *shown).where(
                subscribers.c.account_id == account_id, subscribers.c.id.in_([each.id for each in snapshots])
            )
        )
    }
    news: set[str] = set()
    inserts: dict[str, dict[str, Any]] = {}
    updates: list[dict[str, Any]] = []
    for each in snapshots:
        row = known.get(each.id)
        values = _observed_values(each, now)
        if row is None:
            inserts[each.id] = {
                **values,
                "account_id": account_id,
                "id": each.id,
                "applied": "{}",
                "set_aside": "{}",
            }
        elif fresh_for is not None and row.observed_at > now - fresh_for:
            continue
        elif (row.email, row.observed) != (each.email, values["observed"]):
            updates.append({**values, "account_id": account_id, "id": each.id})
            news.add(row.email)
        else:
            if row.platform_id != each.platform_id:
                updates.append({**values, "account_id": account_id, "id": each.id})
            continue
        news.add(each.email)
    if inserts:
        _INSERT.execute(connection, list(inserts.values()))
    if updates:
        _UPDATE.execute(connection, updates)
    return news


def _store(connection: Connection, account_id: str, seen: SubscriberSnapshot, at: int) -> None:
    values = _observed_values(seen, at)
    it = (subscribers.c.account_id == account_id) & (subscribers.c.id == seen.id)
    seen_at = connection.scalar(select(subscribers.c.observed_at).where(it))
    if seen_at is None:
        connection.execute(
            insert(subscribers).values(account_id=account_id, id=seen.id, applied="{}", set_aside="{}", **values)
        )
    elif seen_at <= at:
        connection.execute(update(subscribers).where(it).values(values))


def _observed_values(seen: SubscriberSnapshot, now: int) -> dict[str, Any]:
    return {
        "email": seen.email,
        "platform_id": seen.platform_id,
        "observed": json_codec.dump(seen.observed),
        "observed_at": now,
    }


@dataclass(frozen=True, slots=True)
class AppliedValues:
    """Values that a subscriber is known to have."""

    account_id: str
    subscriber_id: str
    values: Mapping[str, JsonValue]
    #: All values in ProsperStack's answer, and its time; None: it returned none.
    observed: Mapping[str, JsonValue] | None = None
    observed_at: int = 0


def mark_all_applied(connection: Connection, applied: Sequence[AppliedValues]) -> None:
    """Record applied values of subscribers, and the observed ones that ProsperStack returned."""
    rows = {
        (row.account_id, row.id): row
        for row in _STATE.rows(connection, [(each.account_id, each.subscriber_id) for each in applied])
    }
    for each in applied:
        key = each.account_id, each.subscriber_id
        row = rows.get(key)
        if row is None:
            continue
        known = json_codec.dump({**json_codec.load(row.applied), **each.values})
        unsure = json_codec.dump([name for name in json_codec.load(row.unsure) if name not in each.values])
        rows[key] = row._replace(applied=known, unsure=unsure)
        if each.observed is not None:
            rows[key] = rows[key]._replace(observed=json_codec.dump(each.observed), observed_at=each.observed_at)
    _UPDATE_STATE.execute_values(
        connection,
        [(row.applied, row.unsure, row.observed, row.observed_at, *key) for key, row in sorted(rows.items())],
    )


def mark_unconfirmed(connection: Connection, account_id: str, sent: Mapping[str, Collection[str] | None]) -> None:
    """Record that properties are about to be sent, or that the result of sending them is unknown.

    ``sent`` maps subscriber IDs to property keys; None: all properties ever applied. They are not applied until
    the result is known. Otherwise a value that is sent, and reverted before the response arrives, would look as if
    it had been applied all the time. An erasure clears them as well.
    """
    rows: list[dict[str, Any]] = []
    for row in connection.execute(_STATES, {"account": account_id, "ids": list(sent)}):
        applied = json_codec.load(row.applied)
        keys = sent[row.id]
        if keys is None:
            keys = applied
        rows.append(
            {
                "account_id": account_id,
                "id": row.id,
                "applied": json_codec.dump({name: value for name, value in applied.items() if name not in keys}),
                "unsure": json_codec.dump(sorted({*json_codec.load(row.unsure), *keys})),
            }
        )
    if rows:
        _UPDATE_APPLIED.execute(connection, rows)


def mark_rejected(
    connection: Connection, account_id: str, subscriber_id: str, key: str, value: JsonValue, reason: str
) -> None:
    """Record that ProsperStack rejected a value, and why. It is not sent again until it changes."""
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
        .values(set_aside=json_codec.dump({**json_codec.load(row.set_aside), key: (value, reason)}))
    )


def remove(connection: Connection, account_id: str, subscriber_id: str) -> None:
    """Delete a subscriber that ProsperStack reported as missing."""
    connection.execute(
        delete(subscribers).where(subscribers.c.account_id == account_id, subscribers.c.id == subscriber_id)
    )


def clear_applied(connection: Connection, account_id: str, emails: Collection[str]) -> None:
    """Forget the applied and rejected values of the subscribers with these emails."""
    whose = (subscribers.c.account_id == account_id) & subscribers.c.email.in_(list(emails))
    connection.execute(update(subscribers).where(whose).values(applied="{}", set_aside="{}", unsure="[]"))


def erase(connection: Connection, account_id: str, emails: Collection[str]) -> dict[str, list[str]]:
    """Delete the subscribers with these emails. Return the keys of their written properties, by subscriber ID.

    The keys include properties that were sent without a known result.
    """
    known = (subscribers.c.account_id == account_id) & subscribers.c.email.in_(list(emails))
    rows = connection.execute(
        select(subscribers.c.id, subscribers.c.applied, subscribers.c.unsure).where(known)
    ).all()
    connection.execute(delete(subscribers).where(known))
    return {row.id: sorted({*json_codec.load(row.applied), *json_codec.load(row.unsure)}) for row in rows}


def _subscriber(row: Any) -> Subscriber:
    set_aside = {key: (value, reason) for key, (value, reason) in json_codec.load(row.set_aside).items()}
    return Subscriber(
        id=row.id,
        email=row.email,
        observed=json_codec.load(row.observed),
        applied=json_codec.load(row.applied),
        rejected=set_aside,
        observed_at=row.observed_at,
        unconfirmed=frozenset(json_codec.load(row.unsure)),
    )


def requeue_unconfirmed(connection: Connection, account_id: str, subscriber_ids: Collection[str], now: int) -> None:
    """Look subscribers up again, and send the desired values that they lack.

    Their applied values become unconfirmed. Their profiles get a new version, so that a running delivery does not
    settle them.
    """
    mine = (subscribers.c.account_id == account_id) & subscribers.c.id.in_(list(subscriber_ids))
    emails = sorted(set(connection.scalars(select(subscribers.c.email).where(mine))))
    mark_unconfirmed(connection, account_id, dict.fromkeys(subscriber_ids))
    connection.execute(
        update(profiles)
        .where(profiles.c.account_id == account_id, profiles.c.email.in_(emails))
        .values(
            version=profiles.c.version + 1,
            status=Status.PENDING,
            pending_since=func.coalesce(profiles.c.pending_since, now),
            changed_at=now,
            due_at=now,
            looked_up_at=None,
        )
    )
