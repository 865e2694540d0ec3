"""A unit of work for a clock that was set back: what is due at times that were never real."""

from sqlalchemy import Connection, update

from prosperstack_destination.state.profile import Status
from prosperstack_destination.state.tables import accounts, clearings, profiles


def bring_forward(connection: Connection, now: int) -> None:
    """Have everything that is pending, and put off until after ``now``, be due now. Safe to repeat."""
    pending = (profiles.c.status == Status.PENDING) & (profiles.c.due_at > now)
    connection.execute(update(profiles).where(pending).values(due_at=now))
    connection.execute(update(clearings).where(clearings.c.due_at > now).values(due_at=now))
    connection.execute(update(accounts).where(accounts.c.status_until > now).values(status_until=now))
