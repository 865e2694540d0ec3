"""What to do when the machine's clock is set back."""

from typing import Final

from sqlalchemy import Connection, or_, update

from prosperstack_destination.state.tables import accounts, clearings, directories, profiles

#: What is left alone, and until when.
_UNTIL: Final = (profiles.c.due_at, clearings.c.due_at, accounts.c.status_until, directories.c.refresh_at)
#: When something was learned.
_LEARNED: Final = (directories.c.as_of, directories.c.began_at)


def due_now(connection: Connection, now: int) -> None:
    """Have done now whatever waits for a time that has not come: it was to come before the clock was set back.

    What was learned in what is the future now counts as learned now. Early attempts are harmless.
    """
    for column in (*_UNTIL, *_LEARNED):
        connection.execute(update(column.table).where(column > now).values({column: now}))
    future = or_(profiles.c.changed_at > now, profiles.c.looked_up_at > now)
    connection.execute(
        update(profiles).where(profiles.c.due_at.is_not(None), future).values(changed_at=now, looked_up_at=None)
    )
