"""Health probe: transaction that checks whether calls can be written."""

from typing import Final

from sqlalchemy import Connection, delete, insert, text

from prosperstack_destination.store.tables import held, identities, profiles, replicas, sources

#: Tables that every call is written to: a lock on one of them blocks all calls.
_WRITTEN_TO: Final = (profiles, identities, sources, held)
#: Lock timeout, in seconds.
LOCK_SECONDS: Final = 1


def probe_writes(connection: Connection, name: str) -> None:
    """Insert a row and delete it again, under the locks that a call takes.

    ``name`` is the process's own, so that concurrent probes do not wait for each other. Raises the same errors as
    a write.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'"))
        names = ", ".join(table.name for table in _WRITTEN_TO)
        connection.execute(text(f"LOCK TABLE {names} IN ROW EXCLUSIVE MODE"))  # the lock that an INSERT takes
    connection.execute(insert(replicas).values(id=name, expires_at=0))
    connection.execute(delete(replicas).where(replicas.c.id == name))
