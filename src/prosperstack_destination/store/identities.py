"""Units of work on identities: which email belongs to which id.

When an id came with an email last stands in the profile of that email, which is written with each call anyway; so
an id that keeps its email costs no write here.
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
from prosperstack_destination.store.statements import BulkInsert, OneOf, Prepared
from prosperstack_destination.store.tables import identities

#: A kind and an id.
Key = tuple[IdKind, str]

#: Emails that an id had before its present one, so that a deletion finds them all; the oldest go first.
MAX_FORMER: Final = 20


def _select(one_of: OneOf) -> CompoundSelect[Any]:
    """The emails of ids, those of each kind being bound under its name."""
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


_SELECT: Final = Prepared(_select)
_INSERT: Final = BulkInsert(identities, ["account_id", "kind", "external_id", "email", "former"])


class Identities:
    """What is known of some ids of an account, and what is learned of them in a transaction."""

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
        """The email of an id, if it is known."""
        return self._emails.get(key)

    def email(self, keys: Iterable[Key]) -> str | None:
        """The email of the first of these ids that is known."""
        for key in keys:
            if (email := self._emails.get(key)) is not None:
                return email
        return None

    def learn(self, key: Key, email: str) -> None:
        """Note that an id has this email now."""
        known = self._emails.get(key)
        if known is None:
            self._new.add(key)
        elif known != email:
            self._former.setdefault(key, []).append(known)
        self._emails[key] = email

    @property
    def moved(self) -> bool:
        """Whether an id that was known has another email now."""
        return not self._former.keys() <= self._new

    @property
    def learned(self) -> set[Key]:
        """Ids that no email was known for before this transaction."""
        return self._new

    def save(self, connection: Connection) -> None:
        """Write what was learned."""
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
    """The email that an id has, and those that it had before."""
    mine = _is(account_id, [key])
    row = connection.execute(select(identities.c.email, identities.c.former).where(mine)).one_or_none()
    return set() if row is None else {row.email, *json_codec.load(row.former)}


def forget(connection: Connection, account_id: str, keys: Collection[Key]) -> None:
    """Drop what is known of these ids."""
    if keys:
        connection.execute(delete(identities).where(_is(account_id, keys)))


def forget_with(connection: Connection, account_id: str, keys: Collection[Key], emails: Collection[str]) -> None:
    """Drop what is known of these ids, where they have one of these emails still."""
    if keys:
        connection.execute(delete(identities).where(_is(account_id, keys), identities.c.email.in_(list(emails))))


def forget_emails(connection: Connection, account_id: str, emails: Collection[str]) -> None:
    """Delete all ids that have or had one of these emails. Goes through all ids of the account."""
    mine = identities.c.account_id == account_id
    had = or_(*(identities.c.former.contains(json_codec.dump(email), autoescape=True) for email in emails))
    connection.execute(delete(identities).where(mine, identities.c.email.in_(list(emails)) | had))


def _is(account_id: str, keys: Collection[Key]) -> ColumnElement[bool]:
    wanted = [(kind.value, external_id) for kind, external_id in keys]
    return (identities.c.account_id == account_id) & tuple_(identities.c.kind, identities.c.external_id).in_(wanted)
