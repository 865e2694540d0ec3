"""The same statement for many rows, without SQLAlchemy's work for each of them.

Binding parameters row by row costs as much as the database's own work. SQLite gets the rows as they are; PostgreSQL
gets all of them at once, as one array a column.
"""

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any, Final

from sqlalchemy import Connection, Table

from prosperstack_destination.state.drivers import sqlite_driver


class Bulk:
    """A statement for many rows, each a mapping of the columns' ``names`` to plain values.

    ``by_row`` is the statement for one row, with ``?`` for each of its values in the order of their names; ``over``
    the one over all of them, with ``{rows}`` where it names their table, which it knows as ``given``.
    """

    def __init__(self, table: Table, names: Sequence[str], by_row: str, over: str) -> None:
        self._by_row = by_row
        self._over = over
        self._columns: Final = [table.c[name] for name in names]
        self._values: Final = itemgetter(*names)
        self._compiled: str | None = None

    def execute(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """Run the statement for each row, in their order."""
        self.execute_values(connection, [self._values(row) for row in rows])

    def execute_values(self, connection: Connection, values: Sequence[tuple[Any, ...]]) -> None:
        """The same for rows that are tuples of their values, in the order of ``names`` (an update's keys last)."""
        if not values:
            return
        driver = sqlite_driver(connection)
        if driver is not None:
            driver.executemany(self._by_row, values)
            return
        if self._compiled is None:
            self._compiled = self._over.format(rows=self._table_of_rows(connection))
        connection.exec_driver_sql(self._compiled, tuple(map(list, zip(*values, strict=True))))

    def _table_of_rows(self, connection: Connection) -> str:
        types = [column.type.compile(connection.dialect) for column in self._columns]
        arrays = ", ".join(f"${place}::{kind}[]" for place, kind in enumerate(types, 1))
        return f"unnest({arrays}) AS given({_listed([column.name for column in self._columns])})"


class BulkInsert(Bulk):
    """Inserts rows into a table, of which it takes two columns or more.

    ``skip_existing``: rows whose key is there already are left out.
    """

    def __init__(self, table: Table, names: Sequence[str], *, skip_existing: bool = False) -> None:
        otherwise = " ON CONFLICT DO NOTHING" if skip_existing else ""
        into = f"INSERT INTO {table.name} ({_listed(names)})"
        super().__init__(
            table,
            names,
            by_row=f"{into} VALUES ({', '.join('?' * len(names))}){otherwise}",
            over=f"{into} SELECT * FROM {{rows}}{otherwise}",  # noqa: S608 -- names of our own
        )


class BulkUpdate(Bulk):
    """Updates ``names`` of a table's rows, which are found by ``keys``."""

    def __init__(self, table: Table, keys: Sequence[str], names: Sequence[str]) -> None:
        new = ", ".join(f'"{name}" = ?' for name in names)
        found = " AND ".join(f'"{key}" = ?' for key in keys)
        given = ", ".join(f'"{name}" = given."{name}"' for name in names)
        found_by_given = " AND ".join(f'{table.name}."{key}" = given."{key}"' for key in keys)
        super().__init__(
            table,
            [*names, *keys],
            by_row=f"UPDATE {table.name} SET {new} WHERE {found}",  # noqa: S608 -- names of our own
            over=f"UPDATE {table.name} SET {given} FROM {{rows}} WHERE {found_by_given}",  # noqa: S608 -- the same
        )


def _listed(names: Sequence[str]) -> str:
    """Names of columns in a statement: in quotes, since some are words of SQL."""
    return ", ".join(f'"{name}"' for name in names)
