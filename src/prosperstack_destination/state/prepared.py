"""Statements of the paths that are gone all day, made once.

SQLAlchemy makes a statement's text once by itself, but looks it up, binds its parameters and works out its result
anew each time: that costs more than the databases' own work where a statement finds a few rows by an index.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ARRAY, Column, ColumnElement, Connection, Text, any_, bindparam, func
from sqlalchemy import select as sql_select
from sqlalchemy.sql import ClauseElement

from prosperstack_destination.state import json_text
from prosperstack_destination.state.drivers import sqlite_driver

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
    return json_text.dump(value) if type(value) is list else value
