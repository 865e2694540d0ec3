"""Units of work on what callers show: inbound keys, and the secrets that sign webhooks."""

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
    """Where an inbound key comes from."""

    #: The customer's own ProsperStack key, shown to us by Segment.
    PASS_THROUGH = "pass_through"  # noqa: S105 -- a kind of key, and no key
    #: The SEGMENT_KEYS setting.
    SETTINGS = "settings"
    #: Issued by an operator, shown once.
    ISSUED = "issued"


class KeyKind(StrEnum):
    """What a key may do."""

    #: All that callers may: it is kept by a server.
    SECRET = "secret"  # noqa: S105 -- a kind of key, and no key
    #: Identify alone: it stands in a web page or an app, where everybody can read it.
    PUBLIC = "public"


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """An inbound key as it is listed: never the key itself."""

    #: What it is told apart and revoked by.
    fingerprint: str
    origin: KeyOrigin
    #: What the operator calls it.
    name: str
    #: In microseconds since the epoch; `last_used_at` to the minute.
    created_at: int
    revoked_at: int | None
    last_used_at: int | None
    #: Of a public key the origins of the pages that may show it, none for apps; None: the key is secret.
    origins: tuple[str, ...] | None = None

    @property
    def kind(self) -> KeyKind:
        """What it may do."""
        return KeyKind.SECRET if self.origins is None else KeyKind.PUBLIC


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key that is good: what it opens, and for the pages of which origins (none: for apps)."""

    account_id: str
    origins: tuple[str, ...]
    #: In microseconds since the epoch, to the minute.
    last_used_at: int | None


def public_keys(connection: Connection) -> dict[str, PublicKey]:
    """The public keys of all accounts that are good, by their hashes."""
    rows = connection.execute(
        select(inbound_keys).where(inbound_keys.c.origins.is_not(None), inbound_keys.c.revoked_at.is_(None))
    )
    return {row.key_hash: PublicKey(row.account_id, tuple(loads(row.origins)), row.last_used_at) for row in rows}


def of_inbound_key(connection: Connection, key_hash: str) -> tuple[Account, KeyInfo] | None:
    """The account that an inbound key opens, or opened until it was revoked; None: the key is not known."""
    row = connection.execute(select(inbound_keys).where(inbound_keys.c.key_hash == key_hash)).one_or_none()
    if row is None:
        return None
    account = connection.execute(select(accounts).where(accounts.c.id == row.account_id)).one()
    return account_of(account), _key_of(row)


def mark_used(connection: Connection, key_hash: str, now: int) -> None:
    """Note that a key was shown."""
    connection.execute(update(inbound_keys).where(inbound_keys.c.key_hash == key_hash).values(last_used_at=now))


def keys_of(connection: Connection, account_id: str) -> list[KeyInfo]:
    """An account's inbound keys, the newest first, those that were revoked among them."""
    rows = connection.execute(
        select(inbound_keys)
        .where(inbound_keys.c.account_id == account_id)
        .order_by(inbound_keys.c.created_at.desc(), inbound_keys.c.fingerprint)
    )
    return [_key_of(row) for row in rows]


def revoke_key(connection: Connection, account_id: str, fingerprint: str, now: int) -> bool:
    """Refuse a key from now on; False: the account has no such key that is good."""
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
    """A key to be accepted from callers."""

    key_hash: str
    fingerprint: str
    origin: KeyOrigin
    name: str = ""
    #: See `KeyInfo`.
    origins: tuple[str, ...] | None = None


def admit_key(connection: Connection, account_id: str, key: InboundKey, now: int) -> None:
    """Accept a key from callers from now on, also where it was revoked, or opened another account."""
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
    """Revoke the keys that came from the settings and are not among these hashes any more."""
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
    """What is encrypted with SECRET_KEY: by the ids of accounts and of shared secrets."""

    account_keys: dict[str, str]
    shared_secrets: dict[str, str]
    #: Of Segment workspaces, by the ids of the accounts that they are kept for.
    segment_tokens: dict[str, str]
    #: What belongs to no account, by name: see `store.app_secrets`.
    kept: dict[str, str]


@dataclass(frozen=True, slots=True)
class SecretInfo:
    """A secret that signs webhooks, as it is listed: never the secret itself."""

    id: str
    name: str
    #: In microseconds since the epoch; `last_used_at` to the minute.
    created_at: int
    revoked_at: int | None
    last_used_at: int | None


@dataclass(frozen=True, slots=True)
class ActiveSecret:
    """A secret that is good, encrypted."""

    id: str
    encrypted: str
    #: In microseconds since the epoch, to the minute.
    last_used_at: int | None


def add_secret(
    connection: Connection, account_id: str, secret_id: str, encrypted: str, name: str, now: int
) -> None:
    """Take what a secret signs from now on, beside what the others sign."""
    connection.execute(
        insert(shared_secrets).values(
            id=secret_id, account_id=account_id, encrypted=encrypted, name=name, created_at=now
        )
    )


def active_secrets(connection: Connection, account_id: str) -> list[ActiveSecret]:
    """An account's secrets that are good, the newest first."""
    rows = connection.execute(
        select(shared_secrets.c.id, shared_secrets.c.encrypted, shared_secrets.c.last_used_at)
        .where(shared_secrets.c.account_id == account_id, shared_secrets.c.revoked_at.is_(None))
        .order_by(shared_secrets.c.created_at.desc())
    )
    return [ActiveSecret(row.id, row.encrypted, row.last_used_at) for row in rows]


def mark_secret_used(connection: Connection, secret_id: str, now: int) -> None:
    """Note that a secret signed something."""
    connection.execute(update(shared_secrets).where(shared_secrets.c.id == secret_id).values(last_used_at=now))


def encrypted_texts(connection: Connection) -> EncryptedTexts:
    """Everything that is encrypted with SECRET_KEY, of all accounts."""
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
    """Put other encryptions of the same texts in their places."""
    for account_id, text in encrypted.account_keys.items():
        connection.execute(update(accounts).where(accounts.c.id == account_id).values(encrypted_key=text))
    for secret_id, text in encrypted.shared_secrets.items():
        connection.execute(update(shared_secrets).where(shared_secrets.c.id == secret_id).values(encrypted=text))
    for account_id, text in encrypted.segment_tokens.items():
        mine = segment_tokens.c.account_id == account_id
        connection.execute(update(segment_tokens).where(mine).values(encrypted=text))
    app_secrets.replace(connection, encrypted.kept)


def secrets_of(connection: Connection, account_id: str) -> list[SecretInfo]:
    """An account's secrets, the newest first, those that were revoked among them."""
    rows = connection.execute(
        select(shared_secrets)
        .where(shared_secrets.c.account_id == account_id)
        .order_by(shared_secrets.c.created_at.desc(), shared_secrets.c.id)
    )
    return [SecretInfo(row.id, row.name, row.created_at, row.revoked_at, row.last_used_at) for row in rows]


def revoke_secret(connection: Connection, account_id: str, secret_id: str, now: int) -> bool:
    """Refuse what a secret signs from now on; False: the account has no such secret that is good."""
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
