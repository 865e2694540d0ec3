"""Units of work for what is in doubt: a write to ProsperStack that may have come after another's."""

from collections.abc import Collection

from sqlalchemy import Connection, func, select, update

from prosperstack_destination.state import directory
from prosperstack_destination.state.profile import Status
from prosperstack_destination.state.tables import profiles, subscribers


def requeue_unconfirmed(connection: Connection, account_id: str, subscriber_ids: Collection[str], now: int) -> None:
    """Have subscribers looked up anew, and sent whatever they do not have of what is desired.

    What was noted as applied to them counts no longer. Their profiles count as changed: whoever is at them just now
    does not settle them by it.
    """
    mine = (subscribers.c.account_id == account_id) & subscribers.c.id.in_(list(subscriber_ids))
    emails = sorted(set(connection.scalars(select(subscribers.c.email).where(mine))))
    directory.mark_unconfirmed(connection, account_id, dict.fromkeys(subscriber_ids))
    connection.execute(
        update(profiles)
        .where(profiles.c.account_id == account_id, profiles.c.email.in_(emails))
        .values(
            version=profiles.c.version + 1,
            status=Status.PENDING,
            pending_since=func.coalesce(profiles.c.pending_since, now),
            changed_at=now,
            due_at=now,
            looked_up_at=None,
        )
    )
