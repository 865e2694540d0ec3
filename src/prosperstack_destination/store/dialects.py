"""SQL that differs between SQLite and PostgreSQL.

SQLite has one writer, so it needs no locks.
"""

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Connection, Table, TextClause, text
from sqlalchemy.dialects import postgresql, sqlite

from prosperstack_destination.errors import StoreUnavailable
from prosperstack_destination.store.statements import PreparedStatement

_LOCK_SHARED: Final = PreparedStatement(
    lambda _: text("SELECT pg_advisory_xact_lock_shared(hashtextextended(:account, 0))")
)
_LOCK_EXCLUSIVE: Final = PreparedStatement(
    lambda _: text("SELECT pg_advisory_xact_lock(hashtextextended(:account, 0))")
)


def lock_account(connection: Connection, account_id: str, *, exclusive: bool) -> bool:
    """Lock an account until the transaction ends; return whether the lock is exclusive.

    Shared locks exclude exclusive ones. On SQLite every lock is exclusive.
    """
    if connection.dialect.name == "sqlite":
        return True
    (_LOCK_EXCLUSIVE if exclusive else _LOCK_SHARED).run(connection, {"account": account_id})
    return exclusive


_NOW: Final[Mapping[str, TextClause]] = {
    "sqlite": text("SELECT CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000"),
    "postgresql": text("SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)"),
}


def database_now(connection: Connection) -> int:
    """Return the database's time, which is the same for all replicas, in microseconds since the epoch."""
    return int(connection.execute(_NOW[connection.dialect.name]).scalar_one())


def insert_if_missing(connection: Connection, table: Table, row: Mapping[str, Any]) -> None:
    """Insert a row unless its key exists. Waits for a concurrent insert of the same key."""
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    connection.execute(insert(table).values(row).on_conflict_do_nothing())


#: Time that a transaction waits for its turn and for locks before it fails, in seconds. Calls are answered within
#: 4 s.
LOCK_WAIT_SECONDS: Final = 3.0
#: ``Retry-After`` of a request whose transaction the database did not take, in seconds.
RETRY_AFTER_SECONDS: Final = 5.0


def unavailable(reason: object) -> StoreUnavailable:
    """Return the error for a database that takes no transactions now, with the database's own message.

    PostgreSQL's details and hints are omitted: they may quote rows.
    """
    return StoreUnavailable(
        f"The database cannot take the call now ({message_of(reason)}); it is safe to send it again.",
        retry_after=RETRY_AFTER_SECONDS,
    )


def message_of(reason: object) -> str:
    """Return PostgreSQL's message if the reason or its cause is a PostgreSQL error, else the reason's text."""
    for error in (reason, getattr(reason, "__cause__", None)):
        if isinstance(message := getattr(error, "message", None), str):
            return message
    return str(reason)
