"""Units of work that count: how much waits, how long it has waited, and what failed.

The backlog is everyone who is not settled: also a person who waits for another attempt after one that failed. A
person without a subscriber counts while they are looked up again.
"""

from dataclasses import dataclass, replace
from typing import Final

from sqlalchemy import ColumnElement, Connection, and_, func, or_, select

from prosperstack_destination.store.accounts import AccountStatus
from prosperstack_destination.store.models import UNSETTLED, Status
from prosperstack_destination.store.tables import accounts, clearings, has_failed, is_set_aside, problems, profiles

#: A person who waits for another attempt, or for their turn, after one that failed.
waits_after_failure: Final = and_(has_failed, profiles.c.status.in_(UNSETTLED))


@dataclass(frozen=True, slots=True)
class Failures:
    """How much of an account failed, and what is next."""

    #: People whose latest attempt failed, and who are tried again.
    waiting: int = 0
    #: People whose email ProsperStack rejects.
    rejected: int = 0
    #: Erasures that ProsperStack has not carried out although it was asked.
    erasures: int = 0
    #: Why the attempt failed of the person who is tried next, and when that is, in microseconds.
    reason: str | None = None
    next_attempt_at: int | None = None

    @property
    def in_words(self) -> str:
        """What failed, as in "2 people wait for another attempt"; "" where nothing did."""
        parts = [
            _counted(self.waiting, "person waits", "people wait", "for another attempt after one that failed"),
            _counted(self.rejected, "person has", "people have", "an email that ProsperStack rejects"),
            _counted(self.erasures, "erasure waits", "erasures wait", "for another attempt in ProsperStack"),
        ]
        return ", ".join(part for part in parts if part)


@dataclass(frozen=True, slots=True)
class AccountStats:
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
    #: Profiles that are not settled.
    backlog: int
    #: When the oldest change among them came in, in microseconds; None: nothing waits.
    oldest_at: int | None
    failures: Failures


def of_accounts(connection: Connection, now: int) -> list[AccountStats]:
    """How every account stands, the oldest first. It looks at what waits or failed, and at nothing else."""
    waiting = (
        select(
            profiles.c.account_id,
            func.count().label("backlog"),
            func.min(func.coalesce(profiles.c.pending_since, profiles.c.due_at)).label("oldest_at"),
        )
        .where(_waits(now))
        .group_by(profiles.c.account_id)
        .subquery()
    )
    rows = connection.execute(
        select(accounts, waiting.c.backlog, waiting.c.oldest_at)
        .outerjoin(waiting, waiting.c.account_id == accounts.c.id)
        .order_by(accounts.c.created_at, accounts.c.id)
    )
    return [
        AccountStats(
            account_id=row.id,
            fingerprint=row.fingerprint,
            live=row.live,
            status=AccountStatus(row.status),
            status_reason=row.status_reason,
            status_until=row.status_until,
            catalog_at=row.catalog_at,
            backlog=row.backlog or 0,
            oldest_at=row.oldest_at,
            failures=failures(connection, row.id),
        )
        for row in rows
    ]


def backlogs(connection: Connection, now: int) -> dict[str, dict[Status, int]]:
    """How many profiles of each account wait, by status; accounts without any are not there.

    It reads an index, and no profile; of it, all that waits.
    """
    rows = connection.execute(
        select(profiles.c.account_id, profiles.c.status, func.count().label("number"))
        .where(_waits(now))
        .group_by(profiles.c.account_id, profiles.c.status)
    )
    found: dict[str, dict[Status, int]] = {}
    for row in rows:
        found.setdefault(row.account_id, {})[Status(row.status)] = row.number
    return found


def waiting_by_status(connection: Connection, account_id: str, now: int) -> dict[Status, int]:
    """How many of an account's profiles wait, by status. It reads no profile."""
    rows = connection.execute(
        select(profiles.c.status, func.count())
        .where(profiles.c.account_id == account_id, _waits(now))
        .group_by(profiles.c.status)
    )
    return {Status(status): count for status, count in rows}


def failures(connection: Connection, account_id: str) -> Failures:
    """What failed of an account: a look into indexes of the few of whom that is so."""

    mine = profiles.c.account_id == account_id
    tried = (clearings.c.account_id == account_id) & (clearings.c.attempts > 0)
    waiting, rejected, erasures = (
        connection.execute(select(func.count()).select_from(table).where(which)).scalar_one()
        for table, which in (
            (profiles, mine & waits_after_failure),
            (profiles, mine & is_set_aside),
            (clearings, tried),
        )
    )
    found = Failures(waiting, rejected, erasures)
    if not waiting:
        return found
    following = select(profiles.c.status_reason, profiles.c.due_at).where(mine, waits_after_failure)
    row = connection.execute(following.order_by(profiles.c.due_at).limit(1)).one()
    return replace(found, reason=row.status_reason, next_attempt_at=row.due_at)


def _counted(count: int, one: str, many: str, what: str) -> str:
    return f"{count:,} {one if count == 1 else many} {what}" if count else ""


def has_waiting(connection: Connection, account_id: str) -> bool:
    """Whether a person waits to be settled, or an erasure that failed."""
    people = select(profiles.c.id).where(
        profiles.c.account_id == account_id, profiles.c.due_at.is_not(None), profiles.c.status.in_(UNSETTLED)
    )
    erasures = select(clearings.c.subscriber_id).where(
        clearings.c.account_id == account_id, clearings.c.attempts > 0
    )
    return any(connection.execute(each.limit(1)).first() is not None for each in (people, erasures))


def _waits(now: int) -> ColumnElement[bool]:
    return and_(profiles.c.due_at.is_not(None), or_(profiles.c.status.in_(UNSETTLED), profiles.c.due_at <= now))


@dataclass(frozen=True, slots=True)
class ProfileCounts:
    """How many profiles an account has, by status; and how many problems. Counting takes a look at each."""

    by_status: dict[str, int]
    problems: int

    @property
    def profiles(self) -> int:
        """How many there are in all."""
        return sum(self.by_status.values())


def count_profiles(connection: Connection, account_id: str) -> ProfileCounts:
    """Count an account's profiles and problems."""
    rows = connection.execute(
        select(profiles.c.status, func.count().label("number"))
        .where(profiles.c.account_id == account_id)
        .group_by(profiles.c.status)
        .order_by(profiles.c.status)
    )
    count = select(func.count()).select_from(problems).where(problems.c.account_id == account_id)
    by_status = {str(row.status): int(row.number) for row in rows}
    return ProfileCounts(by_status, connection.execute(count).scalar_one())
