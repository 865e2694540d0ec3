"""Units of work on properties that were created for traits, or could not be.

What ProsperStack rejects is tried once; what failed because it did not answer is tried again.
"""

from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select

from prosperstack_destination.store.tables import creations


@dataclass(frozen=True, slots=True)
class PropertyCreation:
    """One property that was tried."""

    key: str
    trait: str
    #: Its type, as ProsperStack calls it.
    type: str
    #: In microseconds since the epoch.
    at: int
    #: Why it could not be created; None: it was, or it was there already.
    reason: str | None
    #: When it is tried again, in microseconds; None: it is not.
    retry_at: int | None = None


def every(connection: Connection, account_id: str) -> list[PropertyCreation]:
    """All that were tried for an account, the oldest first."""
    rows = connection.execute(
        select(creations).where(creations.c.account_id == account_id).order_by(creations.c.at, creations.c.key)
    )
    return [PropertyCreation(row.key, row.trait, row.type, row.at, row.reason, row.retry_at) for row in rows]


def note(connection: Connection, account_id: str, creation: PropertyCreation) -> None:
    """Note one, in the place of an earlier attempt."""
    same = (creations.c.account_id == account_id) & (creations.c.key == creation.key)
    connection.execute(delete(creations).where(same))
    connection.execute(
        insert(creations).values(
            account_id=account_id,
            key=creation.key,
            trait=creation.trait,
            type=creation.type,
            at=creation.at,
            reason=creation.reason,
            retry_at=creation.retry_at,
        )
    )
