"""The driver under a SQLAlchemy connection, for statements that are run all day."""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Final, cast

from sqlalchemy import ARRAY, Column, ColumnElement, Connection, Table, Text, any_, bindparam, func
from sqlalchemy import select as sql_select
from sqlalchemy.sql import ClauseElement

from prosperstack_destination.store import json_codec


def sqlite_driver(connection: Connection) -> sqlite3.Connection | None:
    """SQLite's own connection, in whose transaction a statement may be run; None on another engine.

    Through SQLAlchemy each gets a context, a cursor and a result: 15 us, where SQLite itself needs two. What goes
    wrong is raised as SQLite says it, which `store.sqlite` understands as well.
    """
    if connection.dialect.name != "sqlite":
        return None
    return cast(sqlite3.Connection, connection.connection.dbapi_connection)


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


#: Makes the condition that a column's value is in a list of texts, which is bound under a name.
OneOf = Callable[["Column[str]", str], ColumnElement[bool]]


@dataclass(frozen=True, slots=True)
class _Text:
    """A statement as the driver takes it: its text, and its parameters in their order."""

    text: str
    names: tuple[str, ...]
    #: Those that the statement itself has a value for.
    given: Mapping[str, Any]


class Prepared:
    """A statement over plain values, the same however many there are in its lists.

    ``build`` makes it, with what says that a column's value is in a list: both engines take that as one parameter,
    PostgreSQL as an array and SQLite as JSON.
    """

    def __init__(self, build: Callable[[OneOf], ClauseElement]) -> None:
        self._build = build
        self._texts: dict[str, _Text] = {}

    def rows(self, connection: Connection, values: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        """Run it with values for all of its parameters, by their names; what it finds, row by row."""
        text, parameters = self._bind(connection, values)
        driver = sqlite_driver(connection)
        if driver is not None:
            return driver.execute(text, parameters).fetchall()
        return connection.exec_driver_sql(text, parameters).all()

    def run(self, connection: Connection, values: Mapping[str, Any]) -> int:
        """The same for one of which nobody reads what it finds: how many rows it changed."""
        text, parameters = self._bind(connection, values)
        driver = sqlite_driver(connection)
        return (driver.execute if driver is not None else connection.exec_driver_sql)(text, parameters).rowcount

    def _bind(self, connection: Connection, values: Mapping[str, Any]) -> tuple[str, tuple[Any, ...]]:
        dialect = connection.dialect.name
        known = self._texts.get(dialect)
        if known is None:
            known = self._texts[dialect] = self._compile(connection)
        bound = {**known.given, **values}
        if dialect == "sqlite":
            return known.text, tuple([_for_sqlite(bound[name]) for name in known.names])
        return known.text, tuple([bound[name] for name in known.names])

    def _compile(self, connection: Connection) -> _Text:
        build = self._build(_ONE_OF[connection.dialect.name])
        compiled = build.compile(dialect=connection.dialect)
        needed = {name for name, bind in compiled.binds.items() if bind.required}  # type: ignore[attr-defined]
        given = {name: value for name, value in compiled.params.items() if name not in needed}
        return _Text(str(compiled), tuple(compiled.positiontup or ()), given)  # type: ignore[attr-defined]


def _in_json(column: "Column[str]", name: str) -> ColumnElement[bool]:
    given = func.json_each(bindparam(name)).table_valued("value")
    return column.in_(sql_select(given.c.value))


def _in_array(column: "Column[str]", name: str) -> ColumnElement[bool]:
    return column == any_(bindparam(name, type_=ARRAY(Text)))


_ONE_OF: Final[Mapping[str, OneOf]] = {"sqlite": _in_json, "postgresql": _in_array}


def _for_sqlite(value: Any) -> Any:
    return json_codec.dump(value) if type(value) is list else value
