"""Where the two engines need different words for the same.

SQLite has one writer, so that nothing has to be locked there.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import ARRAY, Column, Connection, Row, Select, Table, Text, TextClause, any_, bindparam, func, text
from sqlalchemy import select as sql_select
from sqlalchemy.dialects import postgresql, sqlite

from prosperstack_destination.state import json_text

_TOGETHER: Final = text("SELECT pg_advisory_xact_lock_shared(hashtextextended(:account, 0))")
_ALONE: Final = text("SELECT pg_advisory_xact_lock(hashtextextended(:account, 0))")


def share_account(connection: Connection, account_id: str, *, alone: bool) -> bool:
    """Keep others from taking in calls of an account alone until the transaction ends, or, ``alone``, at all.

    Whether we are alone: always, on SQLite.
    """
    if connection.dialect.name == "sqlite":
        return True
    connection.execute(_ALONE if alone else _TOGETHER, {"account": account_id})
    return alone


class OneOf:
    """A select with one more condition: a column's value is one of a list, which is bound under ``name``.

    Both engines take the list as one parameter, PostgreSQL as an array and SQLite as JSON: the statement is the
    same however long it is, and made once.
    """

    def __init__(self, select: Select[Any], column: "Column[str]", name: str) -> None:
        self._name = name
        given = func.json_each(bindparam(name)).table_valued("value")
        self._sqlite = select.where(column.in_(sql_select(given.c.value)))
        self._postgresql = select.where(column == any_(bindparam(name, type_=ARRAY(Text))))

    def execute(self, connection: Connection, values: Mapping[str, Any]) -> Sequence[Row[Any]]:
        """Run it, and fetch its rows."""
        if connection.dialect.name == "sqlite":
            given = {**values, self._name: json_text.dump(values[self._name])}
            return connection.execute(self._sqlite, given).all()
        return connection.execute(self._postgresql, values).all()


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
