"""Units of work on accounts."""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, and_, func, insert, not_, or_, select, update

from prosperstack_destination.clock import DAY, MINUTE
from prosperstack_destination.store.models import Lane, Status
from prosperstack_destination.store.rollups import Bucket
from prosperstack_destination.store.tables import accounts, clearings, directories, profiles, tallies

#: How long a catalog is believed, in microseconds: a property made in ProsperStack is filled this soon.
CATALOG_FOR: Final = 15 * MINUTE
#: The same for an account that is idle: there is little to fill, and thousands of them cost next to nothing.
IDLE_CATALOG_FOR: Final = 1 * DAY
#: An account is idle when no call came for it for so long, in microseconds, and no profile is due.
IDLE_AFTER: Final = 1 * DAY
#: Accounts that are worked at, at once, for nothing but to bring up to date what is known of them.
UPKEEP_AT_ONCE: Final = 20


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
STOPPED_STATUSES = frozenset({AccountStatus.KEY_REFUSED, AccountStatus.NOT_PERMITTED})


class OnDelete(StrEnum):
    """What a deletion (GDPR, CCPA) does in ProsperStack."""

    #: Delete the values of the properties that this service wrote.
    CLEAR = "clear"
    #: Delete the subscriber.
    DELETE_SUBSCRIBER = "delete_subscriber"
    #: Nothing: the account's owner sees to it.
    NOTHING = "nothing"


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
    #: The properties of subscriptions as JSON, or None: no rule has asked for them.
    subscription_catalog: str | None = None
    #: What a deletion does there.
    on_delete: OnDelete = OnDelete.CLEAR
    #: The part of each window of the rate limit that is left for its owner; None: as the service is set.
    reserve: float | None = None

    def reserve_or(self, usual: float) -> float:
        """The part that is left for its owner; ``usual`` where the service's setting holds for it."""
        return usual if self.reserve is None else self.reserve


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
    return None if row is None else account_of(row)


def existing(connection: Connection, account_ids: Collection[str]) -> set[str]:
    """Those of these accounts that there are."""
    return set(connection.scalars(select(accounts.c.id).where(accounts.c.id.in_(account_ids))))


def all_accounts(connection: Connection) -> list[Account]:
    """All accounts, the oldest first."""
    return [
        account_of(row)
        for row in connection.execute(select(accounts).order_by(accounts.c.created_at, accounts.c.id))
    ]


def with_work(connection: Connection, now: int) -> list[str]:
    """The ids of accounts to look at: a profile is due, the catalog is old, the directory is to be brought up to
    date or swept, or they are to be tried again after a failure. Not those that are left alone still.

    Of those that only have something to be brought up to date it is any `UPKEEP_AT_ONCE`: after a night without the
    service it is all of them, and calls must not wait behind that.

    A few looks into an index for each account, however many profiles there are.
    """
    to_clear = (
        select(clearings.c.subscriber_id)
        .where(clearings.c.account_id == accounts.c.id, clearings.c.due_at <= now)
        .exists()
    )
    to_refresh = (
        select(directories.c.account_id)
        .where(directories.c.account_id == accounts.c.id, _directory_due(now))
        .exists()
    )
    aged = and_(accounts.c.catalog_at <= now - CATALOG_FOR, _called_lately(now))
    stale = or_(accounts.c.catalog_at <= now - IDLE_CATALOG_FOR, aged)
    failed = accounts.c.status != AccountStatus.ACTIVE
    left_alone = and_(accounts.c.status_until.is_not(None), accounts.c.status_until > now)
    has_work = or_(_due(now), to_clear, accounts.c.catalog_at.is_(None), failed)
    found = select(accounts.c.id).where(not_(left_alone))
    upkeep = found.where(or_(to_refresh, stale)).order_by(func.random()).limit(UPKEEP_AT_ONCE)
    return list({*connection.scalars(found.where(has_work)), *connection.scalars(upkeep)})


def is_idle(connection: Connection, account_id: str, now: int) -> bool:
    """Whether no call came for an account for a day, and no profile of it is due."""
    busy = select(accounts.c.id).where(accounts.c.id == account_id, or_(_due(now), _called_lately(now)))
    return connection.execute(busy).one_or_none() is None


def _due(now: int) -> ColumnElement[bool]:
    return (
        select(profiles.c.id)
        .where(
            profiles.c.account_id == accounts.c.id,
            profiles.c.status.in_([Status.PENDING, Status.READY, Status.UNKNOWN, Status.UNMATCHED]),
            profiles.c.lane.in_(list(Lane)),
            profiles.c.due_at <= now,
        )
        .exists()
    )


def _called_lately(now: int) -> ColumnElement[bool]:
    return (
        select(tallies.c.at)
        .where(
            tallies.c.account_id == accounts.c.id,
            tallies.c.span == Bucket.HOUR,
            tallies.c.at > now - IDLE_AFTER,
            tallies.c.accepted > 0,
        )
        .exists()
    )


def _directory_due(now: int) -> ColumnElement[bool]:
    return or_(directories.c.refresh_at <= now, directories.c.sweep_at <= now)


def of_prosperstack_key(connection: Connection, key_hash: str) -> Account | None:
    """The account that this ProsperStack key writes to, or None."""
    row = connection.execute(select(accounts).where(accounts.c.key_hash == key_hash)).one_or_none()
    return None if row is None else account_of(row)


def replace_key(connection: Connection, account: Account, key_hash: str, status: AccountStatus) -> None:
    """Have an account use another ProsperStack key from now on, as soon as it is next looked at."""
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
    """Note how an account stands, why, and until when it is left alone (microseconds).

    ``encrypted_key``: only if this is its key still, since what came of it says nothing of another one.
    """
    same = accounts.c.id == account_id
    if encrypted_key is not None:
        same &= accounts.c.encrypted_key == encrypted_key
    connection.execute(update(accounts).where(same).values(status=status, status_reason=reason, status_until=until))


def set_catalog(connection: Connection, account_id: str, catalog: str, now: int) -> None:
    """Keep an account's properties, as JSON, as of now."""
    connection.execute(update(accounts).where(accounts.c.id == account_id).values(catalog=catalog, catalog_at=now))


def expire_catalog(connection: Connection, account_id: str, before: int | None = None) -> bool:
    """Have an account's properties listed anew, now; whether they will be.

    ``before``: only if they were listed before that time, and the account is one that works.
    """
    which = accounts.c.id == account_id
    if before is not None:
        which &= and_(accounts.c.catalog_at <= before, accounts.c.status == AccountStatus.ACTIVE)
    return bool(connection.execute(update(accounts).where(which).values(catalog_at=None)).rowcount)


def set_subscription_catalog(connection: Connection, account_id: str, catalog: str) -> None:
    """Keep the properties of an account's subscriptions, as JSON."""
    connection.execute(update(accounts).where(accounts.c.id == account_id).values(subscription_catalog=catalog))


def on_delete(connection: Connection, account_id: str) -> OnDelete:
    """What a deletion does in ProsperStack for an account."""
    return OnDelete(
        connection.execute(select(accounts.c.on_delete).where(accounts.c.id == account_id)).scalar_one()
    )


def set_on_delete(connection: Connection, account_id: str, on_delete: OnDelete) -> None:
    """Choose what a deletion does in ProsperStack for an account."""
    connection.execute(update(accounts).where(accounts.c.id == account_id).values(on_delete=on_delete))


def set_reserve(connection: Connection, account_id: str, reserve: float | None) -> None:
    """Choose the part of an account's rate limit that is left for its owner; None: as the service is set."""
    connection.execute(update(accounts).where(accounts.c.id == account_id).values(reserve=reserve))


def reserves(connection: Connection) -> dict[str, float]:
    """The parts that are left for the owners of accounts, by id, where that was chosen for the account."""
    rows = connection.execute(select(accounts.c.id, accounts.c.reserve).where(accounts.c.reserve.is_not(None)))
    return {row.id: row.reserve for row in rows}


def account_of(row: Row[Any]) -> Account:
    """The account in a row of the accounts table."""
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
    )
