"""Units of work on the directory: which subscribers ProsperStack has, and what we last settled there."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import JsonValue
from sqlalchemy import Connection, Row, bindparam, delete, func, insert, select, update

from prosperstack_destination.store import json_codec
from prosperstack_destination.store.models import Status
from prosperstack_destination.store.statements import BulkInsert, BulkUpdate
from prosperstack_destination.store.tables import profiles, subscribers

_INSERT = BulkInsert(
    subscribers, ["account_id", "id", "email", "platform_id", "observed", "observed_at", "applied", "set_aside"]
)
_UPDATE = BulkUpdate(subscribers, ["account_id", "id"], ["email", "platform_id", "observed", "observed_at"])
_IS_IT: Final = (subscribers.c.account_id == bindparam("of_account"), subscribers.c.id == bindparam("of_id"))
_SETTLED: Final = select(
    subscribers.c.applied, subscribers.c.unsure, subscribers.c.observed, subscribers.c.observed_at
).where(*_IS_IT)
_SETTLED_ON: Final = select(subscribers.c.id, subscribers.c.applied, subscribers.c.unsure).where(
    subscribers.c.account_id == bindparam("account"), subscribers.c.id.in_(bindparam("ids", expanding=True))
)
_UNSETTLE = BulkUpdate(subscribers, ["account_id", "id"], ["applied", "unsure"])
_MARK: Final = (
    update(subscribers)
    .where(*_IS_IT)
    .values({name: bindparam(name) for name in ("applied", "unsure", "observed", "observed_at")})
)
_BY_EMAILS: Final = select(subscribers).where(
    subscribers.c.account_id == bindparam("account"),
    subscribers.c.email.in_(bindparam("emails", expanding=True)),
)


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
    rejected: Mapping[str, tuple[JsonValue, str]]
    #: When it was last shown to us, in microseconds.
    observed_at: int = 0
    #: Keys of properties that were sent, or are about to be, while it is not known what came of it.
    unconfirmed: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class SubscriberSnapshot:
    """What a ProsperStack answer said of one subscriber."""

    id: str
    email: str
    observed: Mapping[str, JsonValue]
    #: Its id in the billing platform, where one was shown.
    platform_id: str | None = None


def with_email(connection: Connection, account_id: str, email: str) -> list[Subscriber]:
    """The subscribers that are known to have this email (trimmed, in lower case), by id."""
    return with_emails(connection, account_id, [email]).get(email, [])


def with_emails(connection: Connection, account_id: str, emails: Collection[str]) -> dict[str, list[Subscriber]]:
    """The subscribers that are known to have any of these emails, by email, then by id."""
    rows = connection.execute(_BY_EMAILS, {"account": account_id, "emails": list(emails)})
    found: dict[str, list[Subscriber]] = {}
    # Sorted here: for an ORDER BY of the id SQLite would go through all of the account's subscribers in its order.
    for each in sorted(map(_subscriber, rows), key=lambda each: each.id):
        found.setdefault(each.email, []).append(each)
    return found


def replace_for_email(
    connection: Connection, account_id: str, email: str, seen: Iterable[SubscriberSnapshot], at: int
) -> bool:
    """Note that exactly these subscribers had an email at a time; whether others were known to, and are forgotten.

    What was applied to those that stay is kept. What was seen later is left as it is: a listing may have overtaken
    the look-up.
    """
    by_id = {each.id: each for each in seen}
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
    seen: Sequence[SubscriberSnapshot],
    now: int,
    *,
    but_fresh_for: int | None = None,
) -> set[str]:
    """Take in subscribers as a listing showed them at a time; the emails of which something is news.

    That is the emails of subscribers that were not known, or had another email, which is news of both, or other
    properties. What was known already is not written again; nor what was seen less than ``but_fresh_for`` before.
    """
    shown = (subscribers.c.email, subscribers.c.platform_id, subscribers.c.observed, subscribers.c.observed_at)
    known = {
        row.id: row
        for row in connection.execute(
            select(subscribers.c.id, *shown).where(
                subscribers.c.account_id == account_id, subscribers.c.id.in_([each.id for each in seen])
            )
        )
    }
    news: set[str] = set()
    inserts: dict[str, dict[str, Any]] = {}
    updates: list[dict[str, Any]] = []
    for each in seen:
        row = known.get(each.id)
        values = _shown(each, now)
        if row is None:
            inserts[each.id] = {
                **values,
                "account_id": account_id,
                "id": each.id,
                "applied": "{}",
                "set_aside": "{}",
            }
        elif but_fresh_for is not None and row.observed_at > now - but_fresh_for:
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
    values = _shown(seen, at)
    it = (subscribers.c.account_id == account_id) & (subscribers.c.id == seen.id)
    seen_at = connection.scalar(select(subscribers.c.observed_at).where(it))
    if seen_at is None:
        connection.execute(
            insert(subscribers).values(account_id=account_id, id=seen.id, applied="{}", set_aside="{}", **values)
        )
    elif seen_at <= at:
        connection.execute(update(subscribers).where(it).values(values))


def _shown(seen: SubscriberSnapshot, now: int) -> dict[str, Any]:
    return {
        "email": seen.email,
        "platform_id": seen.platform_id,
        "observed": json_codec.dump(seen.observed),
        "observed_at": now,
    }


def mark_applied(
    connection: Connection,
    account_id: str,
    subscriber_id: str,
    applied: Mapping[str, JsonValue],
    *,
    observed: Mapping[str, JsonValue] | None,
    now: int,
) -> None:
    """Note values that are settled on a subscriber, and what ProsperStack showed of it at a time, where it did."""
    key = {"of_account": account_id, "of_id": subscriber_id}
    row = connection.execute(_SETTLED, key).one_or_none()
    if row is None:
        return
    seen = {"observed": row.observed, "observed_at": row.observed_at}
    if observed is not None:
        seen = {"observed": json_codec.dump(observed), "observed_at": now}
    values = {
        "applied": json_codec.dump({**json_codec.load(row.applied), **applied}),
        "unsure": json_codec.dump([each for each in json_codec.load(row.unsure) if each not in applied]),
    }
    connection.execute(_MARK, {**key, **seen, **values})


def mark_unconfirmed(connection: Connection, account_id: str, sent: Mapping[str, Collection[str] | None]) -> None:
    """Note that properties of subscribers, by id, are about to be sent, or that what was sent is in doubt.

    None: all that ever was. Until it is known what came of it they are not settled: a value that is sent, and taken
    back before the answer is there, would seem to have been settled all the time. A deletion clears them all the
    same.
    """
    rows: list[dict[str, Any]] = []
    for row in connection.execute(_SETTLED_ON, {"account": account_id, "ids": list(sent)}):
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
        _UNSETTLE.execute(connection, rows)


def mark_rejected(
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
        .values(set_aside=json_codec.dump({**json_codec.load(row.set_aside), key: (value, reason)}))
    )


def remove(connection: Connection, account_id: str, subscriber_id: str) -> None:
    """Drop a subscriber that ProsperStack says is not there."""
    connection.execute(
        delete(subscribers).where(subscribers.c.account_id == account_id, subscribers.c.id == subscriber_id)
    )


def clear_applied(connection: Connection, account_id: str, emails: Collection[str]) -> None:
    """Forget what was settled on the subscribers with these emails; who they are, as of all others, stays known."""
    whose = (subscribers.c.account_id == account_id) & subscribers.c.email.in_(list(emails))
    connection.execute(update(subscribers).where(whose).values(applied="{}", set_aside="{}", unsure="[]"))


def erase(connection: Connection, account_id: str, emails: Collection[str]) -> dict[str, list[str]]:
    """Drop the subscribers with these emails; by id, the keys of properties that were written there, or may be."""
    known = (subscribers.c.account_id == account_id) & subscribers.c.email.in_(list(emails))
    rows = connection.execute(
        select(subscribers.c.id, subscribers.c.applied, subscribers.c.unsure).where(known)
    ).all()
    connection.execute(delete(subscribers).where(known))
    return {row.id: sorted({*json_codec.load(row.applied), *json_codec.load(row.unsure)}) for row in rows}


def _subscriber(row: Row[Any]) -> Subscriber:
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
    """Have subscribers looked up anew, and sent whatever they do not have of what is desired.

    What was noted as applied to them counts no longer. Their profiles count as changed: whoever is at them just now
    does not settle them by it.
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
