"""Fast execution of frequent statements: prepared statements and bulk writes on the driver's connection."""

import sqlite3
from collections import namedtuple
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Final, cast

from sqlalchemy import ARRAY, Column, ColumnElement, Connection, Table, TextClause, any_, bindparam, func, text
from sqlalchemy import select as sql_select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql import ClauseElement

from prosperstack_destination.errors import StoreUnavailable
from prosperstack_destination.store import json_codec


def sqlite_driver(connection: Connection) -> sqlite3.Connection | None:
    """Return SQLite's own connection, in the same transaction; None on PostgreSQL.

    SQLAlchemy creates a context, a cursor and a result for each statement: 15 us, while SQLite needs two. The
    driver's errors are raised as they are; `store.sqlite` translates them as well.
    """
    if connection.dialect.name != "sqlite":
        return None
    return cast(sqlite3.Connection, connection.connection.dbapi_connection)


class BulkStatement:
    """Statement for many rows, each a mapping from the columns' ``names`` to plain values.

    ``by_row`` is the statement for one row, with ``?`` for each of its values in the order of ``names``. ``over``
    is the statement for all rows, with ``{rows}`` for their table, which it calls ``given``.
    """

    def __init__(self, table: Table, names: Sequence[str], by_row: str, over: str) -> None:
        self._by_row = by_row
        self._over = over
        self._columns: Final = [table.c[name] for name in names]
        self._values: Final = itemgetter(*names)
        self._compiled: str | None = None

    def execute(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """Run the statement for each row, in order."""
        self.execute_values(connection, [self._values(row) for row in rows])

    def execute_values(self, connection: Connection, values: Sequence[tuple[Any, ...]]) -> None:
        """Run the statement for rows that are tuples in the order of ``names``; the keys of an update come last."""
        if not values:
            return
        driver = sqlite_driver(connection)
        if driver is not None:
            driver.executemany(self._by_row, values)
            return
        self._over_all(connection, values)

    def _over_all(
        self, connection: Connection, values: Sequence[tuple[Any, ...]], returning: str = ""
    ) -> Sequence[Sequence[Any]]:
        """Run the statement for all rows on PostgreSQL, and return the rows of its result."""
        if not values:
            return ()
        if self._compiled is None:
            self._compiled = self._over.format(rows=self._table_of_rows(connection))
        result = connection.exec_driver_sql(self._compiled + returning, tuple(map(list, zip(*values, strict=True))))
        return result.all() if result.returns_rows else ()

    def _table_of_rows(self, connection: Connection) -> str:
        types = [column.type.compile(connection.dialect) for column in self._columns]
        arrays = ", ".join(f"${place}::{kind}[]" for place, kind in enumerate(types, 1))
        return f"unnest({arrays}) AS given({_listed([column.name for column in self._columns])})"


class BulkInsert(BulkStatement):
    """INSERT of many rows with two or more columns.

    ``skip_existing`` ignores rows whose key exists.
    """

    def __init__(self, table: Table, names: Sequence[str], *, skip_existing: bool = False) -> None:
        otherwise = " ON CONFLICT DO NOTHING" if skip_existing else ""
        into = f"INSERT INTO {table.name} ({_listed(names)})"
        super().__init__(
            table,
            names,
            by_row=f"{into} VALUES ({', '.join('?' * len(names))}){otherwise}",
            over=f"{into} SELECT * FROM {{rows}}{otherwise}",  # noqa: S608 -- constant names
        )


class BulkUpdate(BulkStatement):
    """UPDATE of the columns ``names`` in rows that are identified by ``keys``."""

    def __init__(self, table: Table, keys: Sequence[str], names: Sequence[str]) -> None:
        new = ", ".join(f'"{name}" = ?' for name in names)
        found = " AND ".join(f'"{key}" = ?' for key in keys)
        given = ", ".join(f'"{name}" = given."{name}"' for name in names)
        found_by_given = " AND ".join(f'{table.name}."{key}" = given."{key}"' for key in keys)
        super().__init__(
            table,
            [*names, *keys],
            by_row=f"UPDATE {table.name} SET {new} WHERE {found}",  # noqa: S608 -- constant names
            over=f"UPDATE {table.name} SET {given} FROM {{rows}} WHERE {found_by_given}",  # noqa: S608 -- constant names
        )
        self._keys: Final = len(keys)
        self._returning: Final = f' RETURNING given."{keys[0]}"'

    def execute_matching(self, connection: Connection, values: Sequence[tuple[Any, ...]]) -> set[Any]:
        """Run the statement for rows as `execute_values` does; return the first keys of those that exist."""
        key = len(values[0]) - self._keys if values else 0
        driver = sqlite_driver(connection)
        if driver is not None:
            return {row[key] for row in values if driver.execute(self._by_row, row).rowcount}
        return {row[0] for row in self._over_all(connection, values, self._returning)}


class BulkSelect(BulkStatement):
    """SELECT of the columns ``names`` in rows that are identified by ``keys``, for many values of the keys.

    ``lock`` ends the statement on PostgreSQL: it locks the rows for the rest of the transaction.
    """

    def __init__(self, table: Table, keys: Sequence[str], names: Sequence[str], *, lock: str = "") -> None:
        wanted = ", ".join(f'{table.name}."{name}"' for name in names)
        found = " AND ".join(f'"{key}" = ?' for key in keys)
        found_by_given = " AND ".join(f'{table.name}."{key}" = given."{key}"' for key in keys)
        super().__init__(
            table,
            keys,
            by_row=f"SELECT {wanted} FROM {table.name} WHERE {found}",  # noqa: S608 -- constant names
            over=f"SELECT {wanted} FROM {{rows}} JOIN {table.name} ON {found_by_given} {lock}",  # noqa: S608 -- constant names
        )
        row: Any = namedtuple("row", names)  # type: ignore[misc] # mypy knows constant names only
        self._make: Final = row._make

    def rows(self, connection: Connection, keys: Iterable[tuple[Any, ...]]) -> list[Any]:
        """Return the rows with these keys, with the columns as attributes."""
        wanted = list(dict.fromkeys(keys))
        driver = sqlite_driver(connection)
        if driver is None:
            return [self._make(row) for row in self._over_all(connection, wanted)]
        return [self._make(row) for key in wanted for row in driver.execute(self._by_row, key)]


def _listed(names: Sequence[str]) -> str:
    """Return column names for a statement, quoted because some are SQL keywords."""
    return ", ".join(f'"{name}"' for name in names)


#: Builds the condition that a column's value is in a list, which is bound under a name.
OneOf = Callable[["Column[Any]", str], ColumnElement[bool]]


@dataclass(frozen=True, slots=True)
class _Text:
    """Compiled statement: its text, and its parameters in order."""

    text: str
    names: tuple[str, ...]
    #: Values of the statement's own constants.
    given: Mapping[str, Any]


class PreparedStatement:
    """Statement over plain values that is compiled once for lists of any length.

    ``build`` creates it. It gets a function for the condition that a column's value is in a list: both engines
    take the list as one parameter, PostgreSQL as an array and SQLite as JSON.
    """

    def __init__(self, build: Callable[[OneOf], ClauseElement]) -> None:
        self._build = build
        self._texts: dict[str, _Text] = {}

    def rows(self, connection: Connection, values: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        """Run the statement with values for its parameters, by name, and return its rows."""
        text, parameters = self._bind(connection, values)
        driver = sqlite_driver(connection)
        if driver is not None:
            return driver.execute(text, parameters).fetchall()
        return connection.exec_driver_sql(text, parameters).all()

    def run(self, connection: Connection, values: Mapping[str, Any]) -> int:
        """Run the statement without reading its rows, and return the number of changed rows."""
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


def _in_json(column: "Column[Any]", name: str) -> ColumnElement[bool]:
    given = func.json_each(bindparam(name)).table_valued("value")
    return column.in_(sql_select(given.c.value))


def _in_array(column: "Column[Any]", name: str) -> ColumnElement[bool]:
    return column == any_(bindparam(name, type_=ARRAY(column.type)))


_ONE_OF: Final[Mapping[str, OneOf]] = {"sqlite": _in_json, "postgresql": _in_array}


def _for_sqlite(value: Any) -> Any:
    return json_codec.dump(value) if type(value) is list else value


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
