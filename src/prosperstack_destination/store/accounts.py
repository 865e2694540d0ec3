"""Transactions on accounts, from opening to removal."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import (
    Connection,
    Row,
    Table,
    and_,
    delete,
    insert,
    select,
    tuple_,
    update,
)

from prosperstack_destination.store.statements import lock_account
from prosperstack_destination.store.tables import (
    accounts,
    connector_tokens,
    inbound_keys,
    leases,
    metadata,
    shared_secrets,
)


class AccountStatus(StrEnum):
    """Status of an account at ProsperStack."""

    #: The key works, as far as known.
    ACTIVE = "active"
    #: ProsperStack fails; another attempt follows.
    RETRYING = "retrying"
    #: ProsperStack refuses the key (401): the account is stopped, and its callers get an error.
    KEY_REFUSED = "key_refused"
    #: ProsperStack denies the key a permission (403): the account is stopped, and its callers get an error.
    NOT_PERMITTED = "not_permitted"


#: Statuses in which no calls are accepted and no requests are sent.
STOPPED_STATUSES = frozenset({AccountStatus.KEY_REFUSED, AccountStatus.NOT_PERMITTED})


class OnDelete(StrEnum):
    """Effect of a deletion (GDPR, CCPA) in ProsperStack."""

    #: Delete the values of the properties that this service wrote.
    CLEAR = "clear"
    #: Delete the subscriber.
    DELETE_SUBSCRIBER = "delete_subscriber"
    #: Leave it to the account's owner.
    NOTHING = "nothing"


class HoldUnknown(StrEnum):
    """Calls with an ID but without a known email that are held until the email is known."""

    #: Calls of Engage.
    ENGAGE = "engage"
    #: All.
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Account:
    """ProsperStack account in one mode, live or test."""

    id: str
    encrypted_key: str
    #: Short form of the ProsperStack key, for people and logs.
    fingerprint: str
    live: bool
    status: AccountStatus
    #: Reason of an inactive status.
    status_reason: str | None
    #: End of the pause after a failure, in microseconds.
    status_until: int | None
    #: Subscriber properties as JSON; None: not listed yet.
    catalog: str | None
    #: Time of the catalog, in microseconds.
    catalog_at: int | None
    #: Subscription properties as JSON; None: no rule needs them.
    subscription_catalog: str | None = None
    #: Effect of a deletion in ProsperStack.
    on_delete: OnDelete = OnDelete.CLEAR
    #: Part of the rate limit that is kept free for the owner's own tools, 0 to 1; None: the service's setting.
    reserve: float | None = None
    #: Zone in which rules see the day.
    time_zone: str = "UTC"
    #: End of the day by which profiles were mapped, in microseconds; None: the mapping does not depend on the day.
    day_ends_at: int | None = None
    #: Key of the keyed hashes that rules make.
    hash_secret: str = ""
    #: Call rules of the current mapping, as JSON; None: there are none. See `mapping.call_rules`.
    intake: str | None = None
    #: Calls without a known email that are held.
    hold_unknown: HoldUnknown = HoldUnknown.ENGAGE

    def reserve_or(self, default: float) -> float:
        """Return the account's reserve, or ``default``, the service's setting."""
        return default if self.reserve is None else self.reserve


def add(connection: Connection, account: Account, key_hash: str, now: int) -> None:
    """Insert an account. No other account may have the same ProsperStack key."""
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
            hash_secret=account.hash_secret,
        )
    )


def get(connection: Connection, account_id: str) -> Account | None:
    """Return the account with this ID, or None."""
    row = connection.execute(select(accounts).where(accounts.c.id == account_id)).one_or_none()
    return None if row is None else account_of(row)


def existing_ids(connection: Connection, account_ids: Collection[str]) -> set[str]:
    """Return those of these IDs that belong to accounts."""
    return set(connection.scalars(select(accounts.c.id).where(accounts.c.id.in_(account_ids))))


def all_accounts(connection: Connection) -> list[Account]:
    """Return all accounts, the oldest first."""
    return [
        account_of(row)
        for row in connection.execute(select(accounts).order_by(accounts.c.created_at, accounts.c.id))
    ]


def find_by_key_hash(connection: Connection, key_hash: str) -> Account | None:
    """Return the account with this ProsperStack key, or None."""
    row = connection.execute(select(accounts).where(accounts.c.key_hash == key_hash)).one_or_none()
    return None if row is None else account_of(row)


def replace_key(connection: Connection, account: Account, key_hash: str, status: AccountStatus) -> None:
    """Replace the ProsperStack key of an account. Its worker uses the new key from its next run."""
    connection.execute(
        update(accounts)
        .where(accounts.c.id == account.id)
        .values(
            key_hash=key_hash,
            encrypted_key=account.encrypted_key,
            fingerprint=account.fingerprint,
            status=status,
            status_reason=None,
            status_until=None,
        )
    )


def set_status(
    connection: Connection,
    account_id: str,
    status: AccountStatus,
    *,
    reason: str | None = None,
    until: int | None = None,
    encrypted_key: str | None = None,
) -> None:
    """Set the status of an account, its reason, and the end of the pause (microseconds).

    ``encrypted_key``: only if the account still has this key, since the result of another key says nothing about
    it.
    """
    same = accounts.c.id == account_id
    if encrypted_key is not None:
        same &= accounts.c.encrypted_key == encrypted_key
    connection.execute(update(accounts).where(same).values(status=status, status_reason=reason, status_until=until))


def set_catalog(connection: Connection, account_id: str, catalog: str, now: int) -> None:
    """Store an account's catalog as JSON, as of ``now``."""
    connection.execute(update(accounts).where(accounts.c.id == account_id).values(catalog=catalog, catalog_at=now))


def expire_catalog(connection: Connection, account_id: str, before: int | None = None) -> bool:
    """Request a new listing of an account's properties. Return whether it will happen.

    ``before``: only if the catalog is older than that time (microseconds) and the account is active.
    """
    which = accounts.c.id == account_id
    if before is not None:
        which &= and_(accounts.c.catalog_at <= before, accounts.c.status == AccountStatus.ACTIVE)
    return bool(connection.execute(update(accounts).where(which).values(catalog_at=None)).rowcount)


def set_subscription_catalog(connection: Connection, account_id: str, catalog: str) -> None:
    """Store the catalog of an account's subscriptions as JSON."""
    connection.execute(update(accounts).where(accounts.c.id == account_id).values(subscription_catalog=catalog))


def on_delete(connection: Connection, account_id: str) -> OnDelete:
    """Return the effect of a deletion in ProsperStack for an account."""
    return OnDelete(
        connection.execute(select(accounts.c.on_delete).where(accounts.c.id == account_id)).scalar_one()
    )


def set_on_delete(connection: Connection, account_id: str, on_delete: OnDelete) -> None:
    """Set the effect of a deletion in ProsperStack for an account."""
    connection.execute(update(accounts).where(accounts.c.id == account_id).values(on_delete=on_delete))


def set_reserve(connection: Connection, account_id: str, reserve: float | None) -> None:
    """Set the part of an account's rate limit that is kept free; None: the service's setting."""
    connection.execute(update(accounts).where(accounts.c.id == account_id).values(reserve=reserve))


def set_time_zone(connection: Connection, account_id: str, time_zone: str) -> None:
    """Set the zone in which rules see the day."""
    connection.execute(update(accounts).where(accounts.c.id == account_id).values(time_zone=time_zone))


def set_hold_unknown(connection: Connection, account_id: str, hold_unknown: HoldUnknown) -> None:
    """Set the calls without a known email that are held."""
    connection.execute(update(accounts).where(accounts.c.id == account_id).values(hold_unknown=hold_unknown))


def set_day_end(connection: Connection, account_id: str, at: int | None) -> None:
    """Set the end of the day by which profiles are mapped; None: the mapping does not depend on the day."""
    connection.execute(update(accounts).where(accounts.c.id == account_id).values(day_ends_at=at))


def set_intake(connection: Connection, account_id: str, intake: str | None) -> None:
    """Set what the current mapping defines for calls, as JSON; None: nothing."""
    connection.execute(update(accounts).where(accounts.c.id == account_id).values(intake=intake))


def with_ended_day(connection: Connection, now: int) -> list[Account]:
    """Return the accounts whose day ended, and whose mapping depends on it."""
    return [account_of(row) for row in connection.execute(select(accounts).where(accounts.c.day_ends_at <= now))]


def reserves(connection: Connection) -> dict[str, float]:
    """Return the accounts' own reserves, by account ID."""
    rows = connection.execute(select(accounts.c.id, accounts.c.reserve).where(accounts.c.reserve.is_not(None)))
    return {row.id: row.reserve for row in rows}


def account_of(row: Row[Any]) -> Account:
    """Convert a row of the accounts table."""
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
        subscription_catalog=row.subscription_catalog,
        on_delete=OnDelete(row.on_delete),
        reserve=row.reserve,
        time_zone=row.time_zone,
        day_ends_at=row.day_ends_at,
        hash_secret=row.hash_secret,
        intake=row.intake,
        hold_unknown=HoldUnknown(row.hold_unknown),
    )


#: Tables of the credentials that open an account; they are deleted first.
_CREDENTIALS: Final = (inbound_keys, shared_secrets, connector_tokens)


def close(connection: Connection, account_id: str, until: int) -> None:
    """Delete the credentials of an account, and stop deliveries until a time (microseconds)."""
    lock_account(connection, account_id, exclusive=True)
    for table in _CREDENTIALS:
        connection.execute(delete(table).where(table.c.account_id == account_id))
    set_status(connection, account_id, AccountStatus.KEY_REFUSED, reason="It is being removed.", until=until)


def remove_some_rows(connection: Connection, account_id: str, limit: int) -> bool:
    """Delete up to ``limit`` rows of an account, referring tables first. Return whether more may be left."""
    for table in _tables_with_account():
        keys = list(table.primary_key.columns)
        some = select(*keys).where(table.c.account_id == account_id).limit(limit)
        which = keys[0].in_(some) if len(keys) == 1 else tuple_(*keys).in_(some)
        if connection.execute(delete(table).where(which)).rowcount:
            return True
    return False


def finish_removal(connection: Connection, account_id: str) -> bool:
    """Delete the account, and rows written for it in the meantime. Return False if there is no such account."""
    lock_account(connection, account_id, exclusive=True)
    for table in _tables_with_account():
        connection.execute(delete(table).where(table.c.account_id == account_id))
    connection.execute(delete(leases).where(leases.c.account_id == account_id))
    return connection.execute(delete(accounts).where(accounts.c.id == account_id)).rowcount > 0


def _tables_with_account() -> Iterator[Table]:
    """Return every table with an account's rows except accounts and leases, since fences must only grow."""
    for table in reversed(metadata.sorted_tables):
        if "account_id" in table.c and table is not leases:
            yield table
