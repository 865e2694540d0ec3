"""Correction of stored times that are in the future, after a clock was set back."""

from typing import Final

from sqlalchemy import Connection, or_, update

from prosperstack_destination.clock import MINUTE
from prosperstack_destination.store.tables import accounts, clearings, directories, profiles, subscribers

#: Tolerance for stored times later than now, in microseconds. Later ones come from a clock that was ahead. Calls
#: that overtake each other on their way into the database, and replicas whose clocks differ, stay below it.
SKEW: Final = 1 * MINUTE
#: Columns with a time to wait for.
_DUE_COLUMNS: Final = (
    *(profiles.c.due_at, clearings.c.due_at, accounts.c.status_until),
    *(directories.c.refresh_at, directories.c.sweep_at),
)
#: Columns with the time of an observation.
_OBSERVED_COLUMNS: Final = (
    *(directories.c.as_of, directories.c.began_at, directories.c.swept_at, directories.c.sweep_began_at),
    subscribers.c.observed_at,
)


def real_time(at: int, now: int) -> int:
    """Return a stored event time, or the moment before ``now`` if it is in the future (microseconds)."""
    return at if at <= now + SKEW else now - 1


def clamp_future_times(connection: Connection, now: int) -> None:
    """Make everything that is due in the future due now, and date future observations back to now.

    Safe to repeat; early attempts are harmless.
    """
    for column in (*_DUE_COLUMNS, *_OBSERVED_COLUMNS):
        connection.execute(update(column.table).where(column > now).values({column: now}))
    future = or_(profiles.c.changed_at > now, profiles.c.looked_up_at > now)
    connection.execute(
        update(profiles).where(profiles.c.due_at.is_not(None), future).values(changed_at=now, looked_up_at=None)
    )
