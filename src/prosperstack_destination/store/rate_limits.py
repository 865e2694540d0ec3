"""Transactions on the rate limits that ProsperStack reports."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, insert, select, update

from prosperstack_destination.store.tables import rate_limits


@dataclass(frozen=True, slots=True)
class ReportedLimit:
    """Latest reported rate limit of an account."""

    #: Requests per window, and the remaining ones.
    limit: int
    remaining: int
    #: Length of a window, as far as known, in seconds.
    window_seconds: float
    #: Time of the report, in microseconds.
    reported_at: int


def record(connection: Connection, reported: Mapping[str, ReportedLimit]) -> None:
    """Store reported limits by account. The longest reported window is kept."""
    for account_id, each in sorted(reported.items()):
        known = of_account(connection, account_id)
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


def of_account(connection: Connection, account_id: str) -> ReportedLimit | None:
    """Return the latest reported limit of an account; None: none yet."""
    row = connection.execute(select(rate_limits).where(rate_limits.c.account_id == account_id)).one_or_none()
    return None if row is None else ReportedLimit(row.limit, row.remaining, row.window_seconds, row.told_at)
