"""Transactions on the creation of properties for traits.

A rejected creation is final; one that failed temporarily is retried.
"""

from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select

from prosperstack_destination.store.tables import creations


@dataclass(frozen=True, slots=True)
class PropertyCreation:
    """Attempt to create a property."""

    key: str
    trait: str
    #: Type of the property, by ProsperStack's name.
    type: str
    #: In microseconds since the epoch.
    at: int
    #: Reason of the failure; None: created, or present already.
    reason: str | None
    #: Time of the retry, in microseconds; None: no retry.
    retry_at: int | None = None


def all_creations(connection: Connection, account_id: str) -> list[PropertyCreation]:
    """Return an account's attempts, the oldest first."""
    rows = connection.execute(
        select(creations).where(creations.c.account_id == account_id).order_by(creations.c.at, creations.c.key)
    )
    return [PropertyCreation(row.key, row.trait, row.type, row.at, row.reason, row.retry_at) for row in rows]


def record(connection: Connection, account_id: str, creation: PropertyCreation) -> None:
    """Record an attempt; it replaces an earlier one."""
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
