"""Counts of an account's backlog and failures, and the rate limit that ProsperStack reported for it.

The backlog contains every profile that is not settled, including those that wait for a retry. An unmatched profile
counts while its next lookup is due.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from sqlalchemy import ColumnElement, Connection, and_, func, insert, or_, select, update

from prosperstack_destination.store.accounts import AccountStatus
from prosperstack_destination.store.models import UNSETTLED, Status
from prosperstack_destination.store.tables import (
    accounts,
    clearings,
    has_failed,
    is_rejected,
    problems,
    profiles,
    rate_limits,
)

#: Condition for a profile that waits for a retry, or for its turn after a failed attempt.
awaits_retry: Final = and_(has_failed, profiles.c.status.in_(UNSETTLED))


@dataclass(frozen=True, slots=True)
class Failures:
    """Failures of an account, and the next retry."""

    #: Profiles whose latest attempt failed and will be retried.
    waiting: int = 0
    #: Profiles whose email ProsperStack rejects.
    rejected: int = 0
    #: Erasures whose latest attempt in ProsperStack failed.
    erasures: int = 0
    #: Reason of the failure of the next profile to be retried, and the time of the retry in microseconds.
    reason: str | None = None
    next_attempt_at: int | None = None

    @property
    def summary(self) -> str:
        """Summary such as "2 people wait for another attempt"; "" without failures."""
        parts = [
            _count_text(self.waiting, "person waits", "people wait", "for another attempt after one that failed"),
            _count_text(self.rejected, "person has", "people have", "an email that ProsperStack rejects"),
            _count_text(self.erasures, "erasure waits", "erasures wait", "for another attempt in ProsperStack"),
        ]
        return ", ".join(part for part in parts if part)


@dataclass(frozen=True, slots=True)
class AccountStats:
    """Status, backlog and failures of an account."""

    account_id: str
    #: Short form of the ProsperStack key.
    fingerprint: str
    live: bool
    status: AccountStatus
    #: Reason of an inactive status, and the end of the pause (microseconds).
    status_reason: str | None
    status_until: int | None
    #: Time of the catalog, in microseconds; None: never listed.
    catalog_at: int | None
    #: Number of profiles that are not settled.
    backlog: int
    #: Arrival time of the oldest pending change, in microseconds; None: the backlog is empty.
    oldest_at: int | None
    failures: Failures


def of_accounts(connection: Connection, now: int) -> list[AccountStats]:
    """Return the stats of all accounts, the oldest first. Reads only waiting and failed profiles."""
    waiting = (
        select(
            profiles.c.account_id,
            func.count().label("backlog"),
            func.min(func.coalesce(profiles.c.pending_since, profiles.c.due_at)).label("oldest_at"),
        )
        .where(_is_waiting(now))
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
    """Return the number of waiting profiles by account and status, without accounts that have none.

    Reads only an index.
    """
    rows = connection.execute(
        select(profiles.c.account_id, profiles.c.status, func.count().label("number"))
        .where(_is_waiting(now))
        .group_by(profiles.c.account_id, profiles.c.status)
    )
    found: dict[str, dict[Status, int]] = {}
    for row in rows:
        found.setdefault(row.account_id, {})[Status(row.status)] = row.number
    return found


def waiting_by_status(connection: Connection, account_id: str, now: int) -> dict[Status, int]:
    """Return the number of an account's waiting profiles by status. Reads only an index."""
    rows = connection.execute(
        select(profiles.c.status, func.count())
        .where(profiles.c.account_id == account_id, _is_waiting(now))
        .group_by(profiles.c.status)
    )
    return {Status(status): count for status, count in rows}


def failures(connection: Connection, account_id: str) -> Failures:
    """Return the failures of an account. Costs index lookups of the failed profiles only."""

    of_account = profiles.c.account_id == account_id
    tried = (clearings.c.account_id == account_id) & (clearings.c.attempts > 0)
    waiting, rejected, erasures = (
        connection.execute(select(func.count()).select_from(table).where(which)).scalar_one()
        for table, which in (
            (profiles, of_account & awaits_retry),
            (profiles, of_account & is_rejected),
            (clearings, tried),
        )
    )
    found = Failures(waiting, rejected, erasures)
    if not waiting:
        return found
    following = select(profiles.c.status_reason, profiles.c.due_at).where(of_account, awaits_retry)
    row = connection.execute(following.order_by(profiles.c.due_at).limit(1)).one()
    return replace(found, reason=row.status_reason, next_attempt_at=row.due_at)


def _count_text(count: int, one: str, many: str, what: str) -> str:
    return f"{count:,} {one if count == 1 else many} {what}" if count else ""


def has_waiting(connection: Connection, account_id: str) -> bool:
    """Return whether a profile waits to be settled, or a failed erasure waits for a retry."""
    people = select(profiles.c.id).where(
        profiles.c.account_id == account_id, profiles.c.due_at.is_not(None), profiles.c.status.in_(UNSETTLED)
    )
    erasures = select(clearings.c.subscriber_id).where(
        clearings.c.account_id == account_id, clearings.c.attempts > 0
    )
    return any(connection.execute(each.limit(1)).first() is not None for each in (people, erasures))


def _is_waiting(now: int) -> ColumnElement[bool]:
    return and_(profiles.c.due_at.is_not(None), or_(profiles.c.status.in_(UNSETTLED), profiles.c.due_at <= now))


@dataclass(frozen=True, slots=True)
class ProfileCounts:
    """Numbers of an account's profiles, by status, and of its mapping problems. Counting scans all of them."""

    by_status: dict[str, int]
    problems: int

    @property
    def profiles(self) -> int:
        """Total number of profiles."""
        return sum(self.by_status.values())


def count_profiles(connection: Connection, account_id: str) -> ProfileCounts:
    """Count an account's profiles and mapping problems."""
    rows = connection.execute(
        select(profiles.c.status, func.count().label("number"))
        .where(profiles.c.account_id == account_id)
        .group_by(profiles.c.status)
        .order_by(profiles.c.status)
    )
    count = select(func.count()).select_from(problems).where(problems.c.account_id == account_id)
    by_status = {str(row.status): int(row.number) for row in rows}
    return ProfileCounts(by_status, connection.execute(count).scalar_one())


@dataclass(frozen=True, slots=True)
class ReportedLimit:
    """Latest reported rate limit of an account."""

    #: Requests per window, and the remaining ones.
    limit: int
    remaining: int
    #: Length of a window in seconds, if it is known.
    window_seconds: float
    #: Time of the report, in microseconds.
    reported_at: int


def record_rate_limits(connection: Connection, reported: Mapping[str, ReportedLimit]) -> None:
    """Store reported limits by account. The longest reported window is kept."""
    for account_id, each in sorted(reported.items()):
        known = reported_limit(connection, account_id)
        values = {"limit": each.limit, "remaining": each.remaining, "told_at": each.reported_at}
        if known is None:
            row = {"account_id": account_id, "window_seconds": each.window_seconds, **values}
            connection.execute(insert(rate_limits).values(row))
            continue
        longest = max(each.window_seconds, known.window_seconds)
        connection.execute(
            update(rate_limits)
            .where(rate_limits.c.account_id == account_id)
            .values({**values, "window_seconds": longest})
        )


def reported_limit(connection: Connection, account_id: str) -> ReportedLimit | None:
    """Return the latest reported limit of an account; None: none yet."""
    row = connection.execute(select(rate_limits).where(rate_limits.c.account_id == account_id)).one_or_none()
    return None if row is None else ReportedLimit(row.limit, row.remaining, row.window_seconds, row.told_at)
