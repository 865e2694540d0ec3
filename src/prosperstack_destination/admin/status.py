"""State of every account, for `status`, `watch` and estimates, and of a restored database, for `doctor`."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import Column, Connection, func, select

from prosperstack_destination.admin.overview import Overview, overview
from prosperstack_destination.prosperstack.forecast import Rate
from prosperstack_destination.reconcile.rate_limiter import account_rate, effective_rate
from prosperstack_destination.store import account_stats, accounts, listing_state
from prosperstack_destination.store.account_stats import AccountStats, ProfileCounts
from prosperstack_destination.store.accounts import Account
from prosperstack_destination.store.migrations import current_revision, newest_revision
from prosperstack_destination.store.tables import (
    connector_tokens,
    erasures,
    inbound_keys,
    mappings,
    operator_tokens,
    profiles,
    shared_secrets,
    subscribers,
)


@dataclass(frozen=True, slots=True)
class AccountView:
    """State of one account."""

    stats: AccountStats
    overview: Overview
    #: Profiles by status; None unless they were counted.
    profile_counts: ProfileCounts | None

    @property
    def per_minute(self) -> float:
        """Recent rate of settled profiles, per minute."""
        return self.overview.settled_per_minute

    @property
    def seconds_left(self) -> float | None:
        """Estimated time to empty the backlog; None if it is empty, or if nothing is delivered."""
        return None if self.overview.progress is None else self.overview.progress.seconds


def load_views(connection: Connection, now: int, reserve: float, *, count: bool = False) -> list[AccountView]:
    """Return every account, the oldest first. ``count`` adds the profiles by status, which takes longer."""
    by_id = {each.id: each for each in accounts.all_accounts(connection)}
    return [
        AccountView(
            each,
            overview(connection, by_id[each.account_id], reserve, now),
            account_stats.count_profiles(connection, each.account_id) if count else None,
        )
        for each in account_stats.of_accounts(connection, now)
    ]


@dataclass(frozen=True, slots=True)
class AccountHealth:
    """Results of the checks of `doctor` for one account."""

    account: Account
    stats: AccountStats
    #: Time of the latest observation of a subscriber, in microseconds, and number of subscribers.
    directory_at: int | None
    subscribers: int


def load_health(connection: Connection, now: int) -> list[AccountHealth]:
    """Return the health of every account, the oldest first."""
    by_id = {each.account_id: each for each in account_stats.of_accounts(connection, now)}
    states = []
    for account in accounts.all_accounts(connection):
        mine = subscribers.c.account_id == account.id
        row = connection.execute(select(func.max(subscribers.c.observed_at), func.count()).where(mine)).one()
        states.append(AccountHealth(account, by_id[account.id], row[0], row[1]))
    return states


def rate_and_subscribers(connection: Connection, account: Account, reserve: float) -> tuple[Rate, int | None]:
    """Return an account's rate of requests, and its number of subscribers; None: they were not listed yet."""
    rate = account_rate(connection, account, reserve)
    return rate, listing_state.read(connection, account.id).size


def default_rate(reserve: float) -> Rate:
    """Return the rate of an account about which nothing is known."""
    return effective_rate(None, reserve)


#: Columns with the times of issued and of revoked credentials.
_CREDENTIALS: Final = tuple(
    column
    for table in (inbound_keys, shared_secrets, connector_tokens, operator_tokens)
    for column in (table.c.created_at, table.c.revoked_at)
)


@dataclass(frozen=True, slots=True)
class RestoredDatabase:
    """State of a restored database; times in microseconds, None where there is nothing."""

    revision: str | None
    #: Revision that this version of the service needs.
    newest_revision: str
    #: Result of SQLite's own check; "ok" on PostgreSQL, which has none.
    integrity: str
    profiles: int
    latest_call_at: int | None
    latest_erasure_at: int | None
    latest_credential_at: int | None
    latest_mapping_at: int | None
    latest_observation_at: int | None


def load_restored(connection: Connection) -> RestoredDatabase:
    """Load the state of the database: a unit of work."""
    sqlite = connection.dialect.name == "sqlite"
    integrity = connection.exec_driver_sql("PRAGMA quick_check").scalar_one() if sqlite else "ok"
    return RestoredDatabase(
        revision=current_revision(connection),
        newest_revision=newest_revision(),
        integrity=str(integrity),
        profiles=connection.execute(select(func.count()).select_from(profiles)).scalar_one(),
        latest_call_at=_latest(connection, profiles.c.changed_at),
        latest_erasure_at=_latest(connection, erasures.c.at),
        latest_credential_at=_latest(connection, *_CREDENTIALS),
        latest_mapping_at=_latest(connection, mappings.c.applied_at),
        latest_observation_at=_latest(connection, subscribers.c.observed_at),
    )


def _latest(connection: Connection, *columns: Column[int]) -> int | None:
    found = [connection.execute(select(func.max(column))).scalar_one() for column in columns]
    return max((at for at in found if at), default=None)
