"""The same statement for many rows, without SQLAlchemy's work for each of them.

Binding parameters row by row costs as much as SQLite's own work. The statement is SQLAlchemy's, compiled once for
the engine; the rows go to the driver as they are.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Insert, Update


class Bulk:
    """A statement whose parameters are all named, plain values; for an insert, ``columns`` says which."""

    def __init__(self, statement: Insert | Update, columns: Sequence[str] | None = None) -> None:
        self._statement = statement
        self._columns = columns
        self._compiled: dict[str, tuple[str, Sequence[str]]] = {}

    def execute(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """Run the statement for each row."""
        known = self._compiled.get(connection.dialect.name)
        if known is None:
            known = self._compiled[connection.dialect.name] = self._compile(connection)
        text, names = known
        connection.exec_driver_sql(text, [tuple(row[name] for name in names) for row in rows])

    def _compile(self, connection: Connection) -> tuple[str, Sequence[str]]:
        compiled = self._statement.compile(dialect=connection.dialect, column_keys=self._columns)
        names = compiled.positiontup
        if names is None:
            raise NotImplementedError(f"the driver of {connection.dialect.name} takes no positional parameters")
        return str(compiled), names
