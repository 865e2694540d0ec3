"""Units of work on properties that were created for traits, or could not be: each is tried once."""

from dataclasses import dataclass

from sqlalchemy import Connection, insert, select

from prosperstack_destination.state.tables import creations


@dataclass(frozen=True, slots=True)
class Creation:
    """One property that was tried."""

    key: str
    trait: str
    #: Its type, as ProsperStack calls it.
    type: str
    #: In microseconds since the epoch.
    at: int
    #: Why it could not be created; None: it was, or it was there already.
    reason: str | None


def every(connection: Connection, account_id: str) -> list[Creation]:
    """All that were tried for an account, the oldest first."""
    rows = connection.execute(
        select(creations).where(creations.c.account_id == account_id).order_by(creations.c.at, creations.c.key)
    )
    return [Creation(row.key, row.trait, row.type, row.at, row.reason) for row in rows]


def add(connection: Connection, account_id: str, creation: Creation) -> None:
    """Note one. Its key must not have been tried before."""
    connection.execute(
        insert(creations).values(
            account_id=account_id,
            key=creation.key,
            trait=creation.trait,
            type=creation.type,
            at=creation.at,
            reason=creation.reason,
        )
    )
