"""Transactions on identities: external IDs and their emails.

The event times of an ID are stored in the profile of its email, which each call writes anyway. An ID that keeps
its email costs no write here.
"""

from collections.abc import Collection, Iterable
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Connection,
    bindparam,
    delete,
    literal_column,
    or_,
    select,
    tuple_,
    union_all,
    update,
)

from prosperstack_destination.store import json_codec
from prosperstack_destination.store.models import ID_KINDS, IdKind
from prosperstack_destination.store.statements import BulkInsert, OneOf, PreparedStatement
from prosperstack_destination.store.tables import identities

#: Kind and value of an external ID.
Key = tuple[IdKind, str]

#: Maximum number of former emails of an ID, which a deletion erases as well; the oldest are dropped first.
MAX_FORMER: Final = 20


def _select(one_of: OneOf) -> CompoundSelect[Any]:
    """Select the emails of IDs; the IDs of each kind are bound under the kind's name."""
    known = select(identities.c.kind, identities.c.external_id, identities.c.email)
    mine = known.where(identities.c.account_id == bindparam("account"))
    return union_all(
        *(
            mine.where(
                identities.c.kind == literal_column(f"'{kind}'"), one_of(identities.c.external_id, kind.value)
            )
            for kind in IdKind
        )
    )


_SELECT: Final = PreparedStatement(_select)
_INSERT: Final = BulkInsert(identities, ["account_id", "kind", "external_id", "email", "former"])


class Identities:
    """Known emails of an account's IDs, and those learned in this transaction."""

    def __init__(self, connection: Connection, account_id: str, keys: Collection[Key]) -> None:
        self._account_id = account_id
        self._emails: dict[Key, str] = {}
        self._new: set[Key] = set()
        self._former: dict[Key, list[str]] = {}
        if keys:
            wanted: dict[str, Any] = {kind: [] for kind in IdKind}
            for kind, external_id in keys:
                wanted[kind].append(external_id)
            for kind, external_id, email in _SELECT.rows(connection, {**wanted, "account": account_id}):
                self._emails[ID_KINDS[kind], external_id] = email

    def email_of(self, key: Key) -> str | None:
        """Return the email of an ID, or None."""
        return self._emails.get(key)

    def email(self, keys: Iterable[Key]) -> str | None:
        """Return the email of the first known ID, or None."""
        for key in keys:
            if (email := self._emails.get(key)) is not None:
                return email
        return None

    def learn(self, key: Key, email: str) -> None:
        """Set the email of an ID."""
        known = self._emails.get(key)
        if known is None:
            self._new.add(key)
        elif known != email:
            self._former.setdefault(key, []).append(known)
        self._emails[key] = email

    @property
    def moved(self) -> bool:
        """True if a known ID has another email now."""
        return not self._former.keys() <= self._new

    @property
    def learned(self) -> set[Key]:
        """IDs that had no email before this transaction."""
        return self._new

    def save(self, connection: Connection) -> None:
        """Write the learned identities."""
        if self._new:
            _INSERT.execute_values(connection, [self._row(key) for key in sorted(self._new)])
        for key in sorted(self._former.keys() - self._new):
            mine = _is(self._account_id, [key])
            former = json_codec.load(connection.execute(select(identities.c.former).where(mine)).scalar_one())
            emails = list(dict.fromkeys([*former, *self._former[key]]))[-MAX_FORMER:]
            changed = {"email": self._emails[key], "former": json_codec.dump(emails)}
            connection.execute(update(identities).where(mine).values(changed))

    def _row(self, key: Key) -> tuple[str, ...]:
        kind, external_id = key
        former = json_codec.dump(self._former[key]) if key in self._former else "[]"
        return self._account_id, kind.value, external_id, self._emails[key], former


def emails_of(connection: Connection, account_id: str, key: Key) -> set[str]:
    """Return the present and the former emails of an ID."""
    mine = _is(account_id, [key])
    row = connection.execute(select(identities.c.email, identities.c.former).where(mine)).one_or_none()
    return set() if row is None else {row.email, *json_codec.load(row.former)}


def forget(connection: Connection, account_id: str, keys: Collection[Key]) -> None:
    """Delete these IDs."""
    if keys:
        connection.execute(delete(identities).where(_is(account_id, keys)))


def forget_with(connection: Connection, account_id: str, keys: Collection[Key], emails: Collection[str]) -> None:
    """Delete these IDs if they still have one of these emails."""
    if keys:
        connection.execute(delete(identities).where(_is(account_id, keys), identities.c.email.in_(list(emails))))


def forget_emails(connection: Connection, account_id: str, emails: Collection[str]) -> None:
    """Delete all IDs that have or had one of these emails. Scans all IDs of the account."""
    mine = identities.c.account_id == account_id
    had = or_(*(identities.c.former.contains(json_codec.dump(email), autoescape=True) for email in emails))
    connection.execute(delete(identities).where(mine, identities.c.email.in_(list(emails)) | had))


def _is(account_id: str, keys: Collection[Key]) -> ColumnElement[bool]:
    wanted = [(kind.value, external_id) for kind, external_id in keys]
    return (identities.c.account_id == account_id) & tuple_(identities.c.kind, identities.c.external_id).in_(wanted)
