"""Transactions on credentials of callers: inbound keys, and shared secrets that sign webhooks."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from json import loads
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from prosperstack_destination.store import app_secrets
from prosperstack_destination.store.accounts import Account, account_of
from prosperstack_destination.store.json_codec import dump
from prosperstack_destination.store.tables import accounts, inbound_keys, segment_tokens, shared_secrets


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
class KeyInfo:
    """Inbound key in lists, without the key itself."""

    #: Short form that identifies the key, as for revoking it.
    fingerprint: str
    origin: KeyOrigin
    #: Name given by the operator.
    name: str
    #: In microseconds since the epoch; `last_used_at` is rounded to the minute.
    created_at: int
    revoked_at: int | None
    last_used_at: int | None
    #: Allowed origins of web pages for a public key, empty for apps; None: a secret key.
    origins: tuple[str, ...] | None = None

    @property
    def kind(self) -> KeyKind:
        """Permissions of the key."""
        return KeyKind.SECRET if self.origins is None else KeyKind.PUBLIC


@dataclass(frozen=True, slots=True)
class PublicKey:
    """Active public key: its account, and the allowed origins of web pages (empty: for apps)."""

    account_id: str
    origins: tuple[str, ...]
    #: In microseconds since the epoch, rounded to the minute.
    last_used_at: int | None


def public_keys(connection: Connection) -> dict[str, PublicKey]:
    """Return the active public keys of all accounts, by hash."""
    rows = connection.execute(
        select(inbound_keys).where(inbound_keys.c.origins.is_not(None), inbound_keys.c.revoked_at.is_(None))
    )
    return {row.key_hash: PublicKey(row.account_id, tuple(loads(row.origins)), row.last_used_at) for row in rows}


def find_key(connection: Connection, key_hash: str) -> tuple[Account, KeyInfo] | None:
    """Return the account of an inbound key, active or revoked; None: the key is unknown."""
    row = connection.execute(select(inbound_keys).where(inbound_keys.c.key_hash == key_hash)).one_or_none()
    if row is None:
        return None
    account = connection.execute(select(accounts).where(accounts.c.id == row.account_id)).one()
    return account_of(account), _key_of(row)


def mark_used(connection: Connection, key_hash: str, now: int) -> None:
    """Record the use of a key."""
    connection.execute(update(inbound_keys).where(inbound_keys.c.key_hash == key_hash).values(last_used_at=now))


def list_keys(connection: Connection, account_id: str) -> list[KeyInfo]:
    """Return an account's inbound keys, the newest first, including revoked ones."""
    rows = connection.execute(
        select(inbound_keys)
        .where(inbound_keys.c.account_id == account_id)
        .order_by(inbound_keys.c.created_at.desc(), inbound_keys.c.fingerprint)
    )
    return [_key_of(row) for row in rows]


def revoke_key(connection: Connection, account_id: str, fingerprint: str, now: int) -> bool:
    """Revoke a key. Return False if the account has no such active key."""
    result = connection.execute(
        update(inbound_keys)
        .where(
            inbound_keys.c.account_id == account_id,
            inbound_keys.c.fingerprint == fingerprint,
            inbound_keys.c.revoked_at.is_(None),
        )
        .values(revoked_at=now)
    )
    return result.rowcount > 0


@dataclass(frozen=True, slots=True)
class InboundKey:
    """Inbound key to be accepted."""

    key_hash: str
    fingerprint: str
    origin: KeyOrigin
    name: str = ""
    #: See `KeyInfo`.
    origins: tuple[str, ...] | None = None


def accept_key(connection: Connection, account_id: str, key: InboundKey, now: int) -> None:
    """Accept an inbound key, even if it was revoked or opened another account."""
    values = {
        "account_id": account_id,
        "fingerprint": key.fingerprint,
        "origin": key.origin,
        "name": key.name,
        "revoked_at": None,
        "origins": None if key.origins is None else dump(list(key.origins)),
    }
    known = connection.execute(update(inbound_keys).where(inbound_keys.c.key_hash == key.key_hash).values(values))
    if known.rowcount == 0:
        connection.execute(insert(inbound_keys).values(key_hash=key.key_hash, created_at=now, **values))


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


@dataclass(frozen=True, slots=True)
class EncryptedTexts:
    """All texts that are encrypted with SECRET_KEY: API keys by account ID, shared secrets by secret ID."""

    account_keys: dict[str, str]
    shared_secrets: dict[str, str]
    #: Tokens of Segment workspaces, by account ID.
    segment_tokens: dict[str, str]
    #: Secrets that belong to no account, by name.
    app_secrets: dict[str, str]


@dataclass(frozen=True, slots=True)
class SecretInfo:
    """Shared secret in lists, without the secret itself."""

    id: str
    name: str
    #: In microseconds since the epoch; `last_used_at` is rounded to the minute.
    created_at: int
    revoked_at: int | None
    last_used_at: int | None


@dataclass(frozen=True, slots=True)
class ActiveSecret:
    """Active shared secret, encrypted."""

    id: str
    encrypted: str
    #: In microseconds since the epoch, rounded to the minute.
    last_used_at: int | None


def add_secret(
    connection: Connection, account_id: str, secret_id: str, encrypted: str, name: str, now: int
) -> None:
    """Add a shared secret; the account's other secrets stay active."""
    connection.execute(
        insert(shared_secrets).values(
            id=secret_id, account_id=account_id, encrypted=encrypted, name=name, created_at=now
        )
    )


def active_secrets(connection: Connection, account_id: str) -> list[ActiveSecret]:
    """Return an account's active secrets, the newest first."""
    rows = connection.execute(
        select(shared_secrets.c.id, shared_secrets.c.encrypted, shared_secrets.c.last_used_at)
        .where(shared_secrets.c.account_id == account_id, shared_secrets.c.revoked_at.is_(None))
        .order_by(shared_secrets.c.created_at.desc())
    )
    return [ActiveSecret(row.id, row.encrypted, row.last_used_at) for row in rows]


def mark_secret_used(connection: Connection, secret_id: str, now: int) -> None:
    """Record the use of a secret."""
    connection.execute(update(shared_secrets).where(shared_secrets.c.id == secret_id).values(last_used_at=now))


def encrypted_texts(connection: Connection) -> EncryptedTexts:
    """Return all texts that are encrypted with SECRET_KEY."""
    keys = connection.execute(select(accounts.c.id, accounts.c.encrypted_key))
    secrets = connection.execute(select(shared_secrets.c.id, shared_secrets.c.encrypted))
    tokens = connection.execute(select(segment_tokens.c.account_id, segment_tokens.c.encrypted))
    return EncryptedTexts(
        {row.id: row.encrypted_key for row in keys},
        {row.id: row.encrypted for row in secrets},
        {row.account_id: row.encrypted for row in tokens},
        app_secrets.every(connection),
    )


def store_encrypted(connection: Connection, encrypted: EncryptedTexts) -> None:
    """Replace the encrypted texts."""
    for account_id, text in encrypted.account_keys.items():
        connection.execute(update(accounts).where(accounts.c.id == account_id).values(encrypted_key=text))
    for secret_id, text in encrypted.shared_secrets.items():
        connection.execute(update(shared_secrets).where(shared_secrets.c.id == secret_id).values(encrypted=text))
    for account_id, text in encrypted.segment_tokens.items():
        mine = segment_tokens.c.account_id == account_id
        connection.execute(update(segment_tokens).where(mine).values(encrypted=text))
    app_secrets.replace(connection, encrypted.app_secrets)


def list_secrets(connection: Connection, account_id: str) -> list[SecretInfo]:
    """Return an account's secrets, the newest first, including revoked ones."""
    rows = connection.execute(
        select(shared_secrets)
        .where(shared_secrets.c.account_id == account_id)
        .order_by(shared_secrets.c.created_at.desc(), shared_secrets.c.id)
    )
    return [SecretInfo(row.id, row.name, row.created_at, row.revoked_at, row.last_used_at) for row in rows]


def revoke_secret(connection: Connection, account_id: str, secret_id: str, now: int) -> bool:
    """Revoke a secret. Return False if the account has no such active secret."""
    result = connection.execute(
        update(shared_secrets)
        .where(
            shared_secrets.c.account_id == account_id,
            shared_secrets.c.id == secret_id,
            shared_secrets.c.revoked_at.is_(None),
        )
        .values(revoked_at=now)
    )
    return result.rowcount > 0


def _key_of(row: Row[Any]) -> KeyInfo:
    return KeyInfo(
        fingerprint=row.fingerprint,
        origin=KeyOrigin(row.origin),
        name=row.name,
        created_at=row.created_at,
        revoked_at=row.revoked_at,
        last_used_at=row.last_used_at,
        origins=None if row.origins is None else tuple(loads(row.origins)),
    )
