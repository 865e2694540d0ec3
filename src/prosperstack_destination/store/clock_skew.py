"""A clock that was set back: what is due at times that were never real, and what is stamped with them."""

from typing import Final

from sqlalchemy import Connection, or_, update

from prosperstack_destination.clock import MINUTE
from prosperstack_destination.store.tables import accounts, clearings, directories, profiles, subscribers

#: A stored event time that is later than now by more than this is of a clock that was ahead, in microseconds. Below
#: it are calls that overtook each other on their way into the database, and replicas whose clocks differ.
SKEW: Final = 1 * MINUTE
#: What is left alone, and until when.
_UNTIL: Final = (
    *(profiles.c.due_at, clearings.c.due_at, accounts.c.status_until),
    *(directories.c.refresh_at, directories.c.sweep_at),
)
#: When something was learned.
_LEARNED: Final = (
    *(directories.c.as_of, directories.c.began_at, directories.c.swept_at, directories.c.sweep_began_at),
    subscribers.c.observed_at,
)


def real_time(at: int, now: int) -> int:
    """Return a stored event time; one that was never real is the moment before ``now`` (microseconds)."""
    return at if at <= now + SKEW else now - 1


def clamp_future_times(connection: Connection, now: int) -> None:
    """Have everything that is put off until after ``now`` be due now. Safe to repeat; early attempts are harmless.

    What was learned in what is the future now counts as learned now.
    """
    for column in (*_UNTIL, *_LEARNED):
        connection.execute(update(column.table).where(column > now).values({column: now}))
    future = or_(profiles.c.changed_at > now, profiles.c.looked_up_at > now)
    connection.execute(
        update(profiles).where(profiles.c.due_at.is_not(None), future).values(changed_at=now, looked_up_at=None)
    )
