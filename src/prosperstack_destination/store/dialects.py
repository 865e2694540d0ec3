"""Where the two engines need different words for the same.

SQLite has one writer, so that nothing has to be locked there.
"""

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Connection, Table, TextClause, text
from sqlalchemy.dialects import postgresql, sqlite

from prosperstack_destination.errors import StoreUnavailable
from prosperstack_destination.store.statements import Prepared

_TOGETHER: Final = Prepared(lambda _: text("SELECT pg_advisory_xact_lock_shared(hashtextextended(:account, 0))"))
_ALONE: Final = Prepared(lambda _: text("SELECT pg_advisory_xact_lock(hashtextextended(:account, 0))"))


def lock_account(connection: Connection, account_id: str, *, exclusive: bool) -> bool:
    """Keep others from taking in calls of an account alone until the transaction ends, or, ``alone``, at all.

    Whether we are alone: always, on SQLite.
    """
    if connection.dialect.name == "sqlite":
        return True
    (_ALONE if exclusive else _TOGETHER).run(connection, {"account": account_id})
    return exclusive


_NOW: Final[Mapping[str, TextClause]] = {
    "sqlite": text("SELECT CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000"),
    "postgresql": text("SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)"),
}


def database_now(connection: Connection) -> int:
    """The database's time, which is the same for all replicas, in microseconds since the epoch."""
    return int(connection.execute(_NOW[connection.dialect.name]).scalar_one())


def insert_unless_there(connection: Connection, table: Table, row: Mapping[str, Any]) -> None:
    """Insert a row, unless there is one with its key; whoever is inserting that just now is waited for."""
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    connection.execute(insert(table).values(row).on_conflict_do_nothing())


#: How long a transaction waits for its turn and for others' locks before it gives up, in seconds: its caller is
#: answered within 4.
LOCK_WAIT_SECONDS: Final = 3.0
#: What a caller is told to wait when the database does not take its transaction, in seconds.
RETRY_AFTER_SECONDS: Final = 5.0


def unavailable(reason: object) -> StoreUnavailable:
    """The error for a database that cannot take a transaction now, with its own words.

    PostgreSQL's details and hints are left out: they may quote rows.
    """
    return StoreUnavailable(
        f"The database cannot take the call now ({_words(reason)}); it is safe to send it again.",
        retry_after=RETRY_AFTER_SECONDS,
    )


def _words(reason: object) -> str:
    """PostgreSQL's message alone, where the reason or its cause is an error of its own; else the reason's text."""
    for error in (reason, getattr(reason, "__cause__", None)):
        if isinstance(message := getattr(error, "message", None), str):
            return message
    return str(reason)
