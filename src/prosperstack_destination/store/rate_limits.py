"""Units of work on what ProsperStack told of the rate limits."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, insert, select, update

from prosperstack_destination.store.tables import rate_limits


@dataclass(frozen=True, slots=True)
class ReportedLimit:
    """An account's rate limit, as told last."""

    #: Requests of a window, and what was left of them.
    limit: int
    remaining: int
    #: How long a window is, as far as is known, in seconds.
    window_seconds: float
    #: When that was told, in microseconds.
    reported_at: int


def note(connection: Connection, told: Mapping[str, ReportedLimit]) -> None:
    """Keep what was told, by account. The longest window ever told is the window."""
    for account_id, each in sorted(told.items()):
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
    """What was told of an account's limit last; None: nothing yet."""
    row = connection.execute(select(rate_limits).where(rate_limits.c.account_id == account_id)).one_or_none()
    return None if row is None else ReportedLimit(row.limit, row.remaining, row.window_seconds, row.told_at)
