"""The same statement for many rows, without SQLAlchemy's work for each of them.

Binding parameters row by row costs as much as the database's own work. On SQLite the statement is SQLAlchemy's,
compiled once, and the rows go to the driver as they are; PostgreSQL gets all rows as one array a column.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Column, Connection, Insert, Table, Update, bindparam, insert, update


class Bulk(ABC):
    """A statement for many rows, each a mapping of the columns' names to plain values."""

    def __init__(self, statement: Insert | Update, columns: Sequence["Column[Any]"]) -> None:
        self._statement = statement
        self._columns = columns
        self._compiled: dict[str, tuple[str, Sequence[str]]] = {}

    def execute(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """Run the statement for each row, in their order."""
        known = self._compiled.get(connection.dialect.name)
        if known is None:
            known = self._compiled[connection.dialect.name] = self._compile(connection)
        text, names = known
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql(text, [tuple(row[name] for name in names) for row in rows])
        else:
            connection.exec_driver_sql(text, tuple([row[name] for row in rows] for name in names))

    def _compile(self, connection: Connection) -> tuple[str, Sequence[str]]:
        names = [column.name for column in self._columns]
        if connection.dialect.name == "sqlite":
            compiled = self._statement.compile(dialect=connection.dialect, column_keys=names)
            return str(compiled), compiled.positiontup or names
        types = [column.type.compile(connection.dialect) for column in self._columns]
        arrays = ", ".join(f"${place}::{kind}[]" for place, kind in enumerate(types, 1))
        return self._with_arrays(f"unnest({arrays}) AS given({', '.join(names)})"), names

    @abstractmethod
    def _with_arrays(self, rows: str) -> str:
        """The statement over a table of rows."""


class BulkInsert(Bulk):
    """Inserts rows into a table."""

    def __init__(self, table: Table, names: Sequence[str]) -> None:
        super().__init__(insert(table), [table.c[name] for name in names])
        self._into = f"{table.name} ({', '.join(names)})"

    def _with_arrays(self, rows: str) -> str:
        return f"INSERT INTO {self._into} SELECT * FROM {rows}"  # noqa: S608 -- names of our own


class BulkUpdate(Bulk):
    """Updates rows of a table, which are found by the columns ``keys``."""

    def __init__(self, table: Table, keys: Sequence[str], names: Sequence[str]) -> None:
        # SQLAlchemy keeps the names of columns for what they are set to: keys are bound under other ones.
        found = [table.c[key] == bindparam(f"row_{key}") for key in keys]
        statement = update(table).where(*found).values({name: bindparam(name) for name in names})
        super().__init__(statement, [table.c[name] for name in (*keys, *names)])
        self._keys = keys
        self._table = table.name
        self._set = ", ".join(f"{name} = given.{name}" for name in names)

    def execute(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """Update each row."""
        super().execute(connection, [{**row, **{f"row_{key}": row[key] for key in self._keys}} for row in rows])

    def _with_arrays(self, rows: str) -> str:
        found = " AND ".join(f"{self._table}.{key} = given.{key}" for key in self._keys)
        return f"UPDATE {self._table} SET {self._set} FROM {rows} WHERE {found}"  # noqa: S608 -- names of our own
