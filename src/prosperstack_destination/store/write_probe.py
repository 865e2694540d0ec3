"""Unit of work that finds out whether calls can be written."""

from typing import Final

from sqlalchemy import Connection, delete, insert, text

from prosperstack_destination.store.tables import held, identities, profiles, replicas, sources

#: What each call is written to: a lock on one of them holds up all calls.
_WRITTEN_TO: Final = (profiles, identities, sources, held)
#: A lock is waited for so long, in seconds.
LOCK_SECONDS: Final = 1


def probe(connection: Connection, name: str) -> None:
    """Write a row, and delete it again, where nothing else keeps calls from being written.

    ``name`` is the process's own: two that probe at once do not wait for each other. Raises what a write raises.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'"))
        names = ", ".join(table.name for table in _WRITTEN_TO)
        connection.execute(text(f"LOCK TABLE {names} IN ROW EXCLUSIVE MODE"))  # which an INSERT takes as well
    connection.execute(insert(replicas).values(id=name, expires_at=0))
    connection.execute(delete(replicas).where(replicas.c.id == name))
