"""Units of work on accounts, their inbound keys and their mappings."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, and_, insert, not_, or_, select, update

from prosperstack_destination.state.tables import accounts, inbound_keys, mappings, profiles


class AccountStatus(StrEnum):
    """How an account stands with ProsperStack."""

    #: Its key works, as far as we know.
    ACTIVE = "active"
    #: ProsperStack does not answer as it should; another attempt follows.
    RETRYING = "retrying"
    #: ProsperStack refuses its key (401): it is stopped, and its callers are told.
    KEY_REFUSED = "key_refused"
    #: ProsperStack does not permit its key what we need (403): it is stopped, and its callers are told.
    NOT_PERMITTED = "not_permitted"


#: States in which nothing is accepted for the account, nor sent.
STOPPED = frozenset({AccountStatus.KEY_REFUSED, AccountStatus.NOT_PERMITTED})


class KeyOrigin(StrEnum):
    """Where an inbound key comes from."""

    #: The customer's own ProsperStack key, shown to us by Segment.
    PASS_THROUGH = "pass_through"  # noqa: S105 -- a kind of key, and no key
    #: The SEGMENT_KEYS setting.
    SETTINGS = "settings"


@dataclass(frozen=True, slots=True)
class Account:
    """One ProsperStack account in one mode, live or test."""

    id: str
    encrypted_key: str
    #: The short form of its ProsperStack key, for people and logs.
    fingerprint: str
    live: bool
    status: AccountStatus
    #: Why it is not active, in words.
    status_reason: str | None
    #: Until when it is left alone, in microseconds.
    status_until: int | None
    #: Its subscriber properties as JSON, or None: not listed yet.
    catalog: str | None
    #: When they were listed, in microseconds.
    catalog_at: int | None


@dataclass(frozen=True, slots=True)
class AppliedMapping:
    """The rules that are in force for an account, as JSON. Version 0: none were ever applied."""

    version: int
    rules: str
    author: str
    applied_at: int


NO_MAPPING = AppliedMapping(version=0, rules='{"rules":[]}', author="", applied_at=0)


def add(connection: Connection, account: Account, key_hash: str, now: int) -> None:
    """Open an account. One with the same ProsperStack key must not be there."""
    connection.execute(
        insert(accounts).values(
            id=account.id,
            key_hash=key_hash,
            encrypted_key=account.encrypted_key,
            fingerprint=account.fingerprint,
            live=account.live,
            status=account.status,
            catalog=account.catalog,
            catalog_at=account.catalog_at,
            created_at=now,
        )
    )


def get(connection: Connection, account_id: str) -> Account | None:
    """The account with this id, or None."""
    row = connection.execute(select(accounts).where(accounts.c.id == account_id)).one_or_none()
    return None if row is None else _account(row)


def every(connection: Connection) -> list[Account]:
    """All accounts, the oldest first."""
    return [_account(row) for row in connection.execute(select(accounts).order_by(accounts.c.created_at))]


def with_work(connection: Connection, now: int, catalog_before: int) -> list[str]:
    """The ids of accounts to look at: a profile is due, the catalog is older than that, or they are to be
    tried again after a failure. Not those that are left alone still.

    One look into an index for each account, however many profiles there are.
    """
    due = select(profiles.c.id).where(profiles.c.account_id == accounts.c.id, profiles.c.due_at <= now).exists()
    stale = or_(accounts.c.catalog_at.is_(None), accounts.c.catalog_at <= catalog_before)
    failed = accounts.c.status != AccountStatus.ACTIVE
    left_alone = and_(accounts.c.status_until.is_not(None), accounts.c.status_until > now)
    return list(connection.scalars(select(accounts.c.id).where(or_(due, stale, failed), not_(left_alone))))


def of_prosperstack_key(connection: Connection, key_hash: str) -> Account | None:
    """The account that this ProsperStack key writes to, or None."""
    row = connection.execute(select(accounts).where(accounts.c.key_hash == key_hash)).one_or_none()
    return None if row is None else _account(row)


def of_inbound_key(connection: Connection, key_hash: str) -> tuple[Account, KeyOrigin] | None:
    """The account that this inbound key opens and where the key comes from; None: unknown, or revoked."""
    row = connection.execute(
        select(accounts, inbound_keys.c.origin)
        .join(inbound_keys, inbound_keys.c.account_id == accounts.c.id)
        .where(inbound_keys.c.key_hash == key_hash, inbound_keys.c.revoked_at.is_(None))
    ).one_or_none()
    return None if row is None else (_account(row), KeyOrigin(row.origin))


@dataclass(frozen=True, slots=True)
class InboundKey:
    """A key to be accepted from callers."""

    key_hash: str
    fingerprint: str
    origin: KeyOrigin


def admit_key(connection: Connection, account_id: str, key: InboundKey, now: int) -> None:
    """Accept a key from callers from now on, also where it was revoked, or opened another account."""
    values = {
        "account_id": account_id,
        "fingerprint": key.fingerprint,
        "origin": key.origin,
        "revoked_at": None,
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


def set_status(
    connection: Connection,
    account_id: str,
    status: AccountStatus,
    *,
    reason: str | None = None,
    until: int | None = None,
) -> None:
    """Note how an account stands, why, and until when it is left alone (microseconds)."""
    connection.execute(
        update(accounts)
        .where(accounts.c.id == account_id)
        .values(status=status, status_reason=reason, status_until=until)
    )


def set_catalog(connection: Connection, account_id: str, catalog: str, now: int) -> None:
    """Keep an account's properties, as JSON, as of now."""
    connection.execute(update(accounts).where(accounts.c.id == account_id).values(catalog=catalog, catalog_at=now))


def mapping_in_force(connection: Connection, account_id: str) -> AppliedMapping:
    """The account's newest mapping, or `NO_MAPPING`."""
    row = connection.execute(
        select(mappings).where(mappings.c.account_id == account_id).order_by(mappings.c.version.desc()).limit(1)
    ).one_or_none()
    if row is None:
        return NO_MAPPING
    return AppliedMapping(row.version, row.rules, row.author, row.applied_at)


def apply_mapping(connection: Connection, account_id: str, rules: str, author: str, now: int) -> int:
    """Put rules (as JSON) in force; the version that they are from now on."""
    version = mapping_in_force(connection, account_id).version + 1
    connection.execute(
        insert(mappings).values(account_id=account_id, version=version, rules=rules, author=author, applied_at=now)
    )
    return version


def _account(row: Row[Any]) -> Account:
    return Account(
        id=row.id,
        encrypted_key=row.encrypted_key,
        fingerprint=row.fingerprint,
        live=row.live,
        status=AccountStatus(row.status),
        status_reason=row.status_reason,
        status_until=row.status_until,
        catalog=row.catalog,
        catalog_at=row.catalog_at,
    )
