"""State of every account: for `status`, `watch` and `doctor`, and the rate for estimates."""

from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from prosperstack_destination.admin.overview import Overview, overview
from prosperstack_destination.prosperstack.forecast import Rate
from prosperstack_destination.reconcile.rate_limiter import account_rate, effective_rate
from prosperstack_destination.store import account_stats, accounts, listing_state
from prosperstack_destination.store.account_stats import AccountStats, ProfileCounts
from prosperstack_destination.store.accounts import Account
from prosperstack_destination.store.tables import subscribers


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
    """What `doctor` checks of one account."""

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
