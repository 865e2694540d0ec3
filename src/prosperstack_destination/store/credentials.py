"""Credentials of callers and operators, one model of all kinds; and dashboard sessions."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from json import loads
from typing import Any, Final, NamedTuple

from sqlalchemy import Column, ColumnElement, Connection, Row, Table, delete, insert, select, update

from prosperstack_destination.store.accounts import Account, account_of
from prosperstack_destination.store.json_codec import dump
from prosperstack_destination.store.tables import (
    accounts,
    connector_tokens,
    inbound_keys,
    operator_tokens,
    sessions,
    shared_secrets,
)


class CredentialKind(StrEnum):
    """Kind of a credential. The value names it in errors, commands and the audit log."""

    #: Inbound key: opens an account to callers.
    KEY = "key"
    #: Shared secret: signs webhooks.
    SECRET = "secret"  # noqa: S105 -- a kind, not a secret
    #: Connector token: part of the URLs that ProsperStack calls.
    CONNECTOR = "connector"
    #: Operator token: opens the API, for all accounts.
    TOKEN = "token"  # noqa: S105 -- a kind, not a token


class KeyOrigin(StrEnum):
    """Origin of an inbound key."""

    #: The customer's own ProsperStack key, sent by Segment.
    PASS_THROUGH = "pass_through"  # noqa: S105 -- a kind of key, not a key
    #: The SEGMENT_KEYS setting.
    SETTINGS = "settings"
    #: Issued by an operator, shown once.
    ISSUED = "issued"


class KeyKind(StrEnum):
    """Permissions of an inbound key."""

    #: All calls: a server keeps the key.
    SECRET = "secret"  # noqa: S105 -- a kind of key, not a key
    #: Identify only: the key is readable in a web page or an app.
    PUBLIC = "public"


@dataclass(frozen=True, slots=True)
class Credential:
    """Credential of any kind, without its text."""

    kind: CredentialKind
    #: Short form that identifies it, as for revoking it: its fingerprint, or the ID of a shared secret.
    id: str
    #: Hash of its text, by which it is found; the ID of a shared secret.
    hash: str = field(repr=False)
    #: Account that it opens; empty for an operator token, which opens all.
    account_id: str
    #: Name given by the operator; of an operator token, the author in the audit log.
    name: str
    #: In microseconds since the epoch; `last_used_at` is rounded to the minute, and not stored for operator tokens.
    created_at: int
    revoked_at: int | None = None
    last_used_at: int | None = None
    #: Text of a shared secret, encrypted.
    encrypted: str = field(default="", repr=False)
    #: Origin of an inbound key.
    origin: KeyOrigin | None = None
    #: Allowed origins of web pages for a public key, empty for apps; None: not a public key.
    origins: tuple[str, ...] | None = None

    @property
    def key_kind(self) -> KeyKind:
        """Permissions of an inbound key."""
        return KeyKind.SECRET if self.origins is None else KeyKind.PUBLIC


class _Columns(NamedTuple):
    """Table of a kind, and its columns with the hash and the ID."""

    table: Table
    hash: Column[str]
    id: Column[str]


_COLUMNS: Final = {
    CredentialKind.KEY: _Columns(inbound_keys, inbound_keys.c.key_hash, inbound_keys.c.fingerprint),
    CredentialKind.SECRET: _Columns(shared_secrets, shared_secrets.c.id, shared_secrets.c.id),
    CredentialKind.CONNECTOR: _Columns(
        connector_tokens, connector_tokens.c.token_hash, connector_tokens.c.fingerprint
    ),
    CredentialKind.TOKEN: _Columns(operator_tokens, operator_tokens.c.token_hash, operator_tokens.c.fingerprint),
}


def accept(connection: Connection, credential: Credential) -> None:
    """Accept a credential, even if it was revoked or opened another account. Others stay active."""
    table, hash_column, id_column = _COLUMNS[credential.kind]
    values: dict[str, object] = {
        id_column.name: credential.id,
        "account_id": credential.account_id,
        "name": credential.name,
        "revoked_at": None,
        "encrypted": credential.encrypted,
        "origin": credential.origin,
        "origins": None if credential.origins is None else dump(list(credential.origins)),
    }
    values = {name: value for name, value in values.items() if name in table.c}
    known = connection.execute(update(table).where(hash_column == credential.hash).values(values))
    if known.rowcount == 0:
        values |= {hash_column.name: credential.hash, "created_at": credential.created_at}
        connection.execute(insert(table).values(values))


def of_kind(connection: Connection, kind: CredentialKind, account_id: str | None = None) -> list[Credential]:
    """Return the credentials of a kind, the newest first, including revoked ones.

    Without an account ID, those of all accounts.
    """
    return _select(connection, kind, *_of_account(kind, account_id))


def active(connection: Connection, kind: CredentialKind, account_id: str | None = None) -> list[Credential]:
    """Return the active credentials of a kind, the newest first; without an account ID, those of all accounts."""
    return _select(connection, kind, *_of_account(kind, account_id), _COLUMNS[kind].table.c.revoked_at.is_(None))


def active_public_keys(connection: Connection) -> list[Credential]:
    """Return the active public keys of all accounts."""
    return _select(
        connection, CredentialKind.KEY, inbound_keys.c.origins.is_not(None), inbound_keys.c.revoked_at.is_(None)
    )


def find_key(connection: Connection, key_hash: str) -> tuple[Account, Credential] | None:
    """Return the account of an inbound key, active or revoked; None: the key is unknown."""
    row = connection.execute(select(inbound_keys).where(inbound_keys.c.key_hash == key_hash)).one_or_none()
    if row is None:
        return None
    account = connection.execute(select(accounts).where(accounts.c.id == row.account_id)).one()
    return account_of(account), _credential(CredentialKind.KEY, row)


def mark_used(connection: Connection, kind: CredentialKind, hashes: Collection[str], now: int) -> None:
    """Record the use of credentials, given by their hashes."""
    table, hash_column, _ = _COLUMNS[kind]
    connection.execute(update(table).where(hash_column.in_(hashes)).values(last_used_at=now))


def revoke(
    connection: Connection, kind: CredentialKind, credential_id: str, now: int, account_id: str | None = None
) -> bool:
    """Revoke a credential. Return False if there is no such active one, or none of the account."""
    table, _, id_column = _COLUMNS[kind]
    is_active = (id_column == credential_id, table.c.revoked_at.is_(None), *_of_account(kind, account_id))
    return connection.execute(update(table).where(*is_active).values(revoked_at=now)).rowcount > 0


def revoke_settings_keys(connection: Connection, keep: Iterable[str], now: int) -> None:
    """Revoke the keys from the settings that are not among these hashes."""
    connection.execute(
        update(inbound_keys)
        .where(
            inbound_keys.c.origin == KeyOrigin.SETTINGS,
            inbound_keys.c.revoked_at.is_(None),
            inbound_keys.c.key_hash.not_in(list(keep)),
        )
        .values(revoked_at=now)
    )


def _of_account(kind: CredentialKind, account_id: str | None) -> list[ColumnElement[bool]]:
    return [] if account_id is None else [_COLUMNS[kind].table.c.account_id == account_id]


def _select(connection: Connection, kind: CredentialKind, *where: ColumnElement[bool]) -> list[Credential]:
    table, _, id_column = _COLUMNS[kind]
    rows = connection.execute(select(table).where(*where).order_by(table.c.created_at.desc(), id_column))
    return [_credential(kind, row) for row in rows]


def _credential(kind: CredentialKind, row: Row[Any]) -> Credential:
    values, columns = row._mapping, _COLUMNS[kind]
    origin, origins = values.get("origin"), values.get("origins")
    return Credential(
        kind=kind,
        id=values[columns.id.name],
        hash=values[columns.hash.name],
        account_id=values.get("account_id", ""),
        name=row.name,
        created_at=row.created_at,
        revoked_at=row.revoked_at,
        last_used_at=values.get("last_used_at"),
        encrypted=values.get("encrypted", ""),
        origin=None if origin is None else KeyOrigin(origin),
        origins=None if origins is None else tuple(loads(origins)),
    )


def open_session(connection: Connection, token_hash: str, password_mark: str, now: int, expires_at: int) -> None:
    """Open a session that expires at a time (microseconds), and delete expired sessions."""
    connection.execute(delete(sessions).where(sessions.c.expires_at <= now))
    row = {"token_hash": token_hash, "password_mark": password_mark, "created_at": now, "expires_at": expires_at}
    connection.execute(insert(sessions).values(row))


def is_session_open(connection: Connection, token_hash: str, password_mark: str, now: int) -> bool:
    """Return whether the token's session is open and was opened with the current password."""
    query = select(sessions.c.token_hash).where(
        sessions.c.token_hash == token_hash,
        sessions.c.password_mark == password_mark,
        sessions.c.expires_at > now,
    )
    return connection.execute(query).first() is not None


def close_session(connection: Connection, token_hash: str) -> None:
    """Close a session. Safe to repeat."""
    connection.execute(delete(sessions).where(sessions.c.token_hash == token_hash))
