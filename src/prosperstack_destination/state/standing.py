"""Units of work that count: how much waits, and how long it has waited."""

from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from prosperstack_destination.state.accounts import AccountStatus
from prosperstack_destination.state.profile import Status
from prosperstack_destination.state.tables import accounts, problems, profiles


@dataclass(frozen=True, slots=True)
class Standing:
    """How an account stands."""

    account_id: str
    #: The short form of its key.
    fingerprint: str
    live: bool
    status: AccountStatus
    #: Why it is not active, in words, and until when it is left alone (microseconds).
    status_reason: str | None
    status_until: int | None
    #: When its properties were listed, in microseconds; None: never.
    catalog_at: int | None
    #: Profiles that have to be looked at by now.
    backlog: int
    #: When the oldest change among them came in, in microseconds; None: nothing waits.
    oldest_at: int | None


def of_accounts(connection: Connection, now: int) -> list[Standing]:
    """How every account stands, the oldest first. It looks at what is due, and at nothing else."""
    waiting = (
        select(
            profiles.c.account_id,
            func.count().label("backlog"),
            func.min(func.coalesce(profiles.c.pending_since, profiles.c.due_at)).label("oldest_at"),
        )
        .where(profiles.c.due_at.is_not(None), profiles.c.due_at <= now)
        .group_by(profiles.c.account_id)
        .subquery()
    )
    rows = connection.execute(
        select(accounts, waiting.c.backlog, waiting.c.oldest_at)
        .outerjoin(waiting, waiting.c.account_id == accounts.c.id)
        .order_by(accounts.c.created_at, accounts.c.id)
    )
    return [
        Standing(
            account_id=row.id,
            fingerprint=row.fingerprint,
            live=row.live,
            status=AccountStatus(row.status),
            status_reason=row.status_reason,
            status_until=row.status_until,
            catalog_at=row.catalog_at,
            backlog=row.backlog or 0,
            oldest_at=row.oldest_at,
        )
        for row in rows
    ]


def backlogs(connection: Connection, now: int) -> dict[str, dict[Status, int]]:
    """How many profiles of each account have to be looked at by now, by status; accounts without any are not there.

    It reads an index, and no profile; of it, all that waits.
    """
    rows = connection.execute(
        select(profiles.c.account_id, profiles.c.status, func.count().label("number"))
        .where(profiles.c.due_at.is_not(None), profiles.c.due_at <= now)
        .group_by(profiles.c.account_id, profiles.c.status)
    )
    found: dict[str, dict[Status, int]] = {}
    for row in rows:
        found.setdefault(row.account_id, {})[Status(row.status)] = row.number
    return found


def waiting_by_status(connection: Connection, account_id: str, now: int) -> dict[Status, int]:
    """How many of an account's profiles have to be looked at by now, by status. It reads no profile."""
    rows = connection.execute(
        select(profiles.c.status, func.count())
        .where(profiles.c.account_id == account_id, profiles.c.due_at.is_not(None), profiles.c.due_at <= now)
        .group_by(profiles.c.status)
    )
    return {Status(status): count for status, count in rows}


@dataclass(frozen=True, slots=True)
class Census:
    """How many profiles an account has, by status; and how many problems. Counting takes a look at each."""

    by_status: dict[str, int]
    problems: int

    @property
    def profiles(self) -> int:
        """How many there are in all."""
        return sum(self.by_status.values())


def census(connection: Connection, account_id: str) -> Census:
    """Count an account's profiles and problems."""
    rows = connection.execute(
        select(profiles.c.status, func.count().label("number"))
        .where(profiles.c.account_id == account_id)
        .group_by(profiles.c.status)
        .order_by(profiles.c.status)
    )
    count = select(func.count()).select_from(problems).where(problems.c.account_id == account_id)
    by_status = {str(row.status): int(row.number) for row in rows}
    return Census(by_status, connection.execute(count).scalar_one())
