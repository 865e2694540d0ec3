"""Backups: a copy of a SQLite database, and an export of either database that either can import."""

import json
import os
import secrets
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import IO, Any, Final

from sqlalchemy import BigInteger, Column, Connection, Integer, Table, func, insert, select, text, tuple_, update

from prosperstack_destination.errors import ConfigurationError, InvalidInput, StoreUnavailable
from prosperstack_destination.storable_text import MAX_INT32, storable_text
from prosperstack_destination.store.database import Database, backend_of, parse_database_url
from prosperstack_destination.store.migrations import current_revision
from prosperstack_destination.store.statements import BulkInsert, unavailable
from prosperstack_destination.store.tables import accounts, imports, leases, metadata, replicas, sessions


def backup(url: str, target: Path) -> None:
    """Copy the database as of one moment into a new file, without blocking transactions.

    Raises `InvalidInput` if there is no such file or the target exists, and `StoreUnavailable` if the copy
    fails.
    """
    source = parse_database_url(url).database if backend_of(url) == "sqlite" else None
    if source is None:
        raise InvalidInput("`db backup` copies SQLite files; for PostgreSQL use pg_dump, or `db export`.")
    if not Path(source).exists():
        raise ConfigurationError(f"There is no database at {source} yet.")
    if target.exists():
        raise InvalidInput(f"{target} exists already: choose another name.")
    partial = target.with_name(target.name + ".partial")
    partial.unlink(missing_ok=True)
    try:
        _copy(source, partial)
        partial.replace(target)
    except (sqlite3.Error, OSError) as error:
        partial.unlink(missing_ok=True)
        raise _copy_failed(error) from error


def _copy(source: str, partial: Path) -> None:
    os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    with closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as connection:
        connection.execute("VACUUM INTO ?", (str(partial),))
    with closing(sqlite3.connect(partial)) as copy:
        found = copy.execute("PRAGMA quick_check").fetchone()[0]
        if found != "ok":
            raise sqlite3.DatabaseError(found)
    with partial.open("rb") as file:
        os.fsync(file.fileno())


def _copy_failed(error: Exception) -> StoreUnavailable:
    return unavailable(f"the copy failed: {error}")


#: Number of rows that are read or written together.
BATCH_ROWS: Final = 1_000
_FORMAT: Final = 1
#: Tables about local processes and files, without meaning elsewhere.
_LOCAL_TABLES: Final = frozenset({leases.name, replicas.name, imports.name, sessions.name})

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class PartialExport:
    """Content of an interrupted export."""

    id: str
    revision: str
    #: Number of rows by table.
    rows: Counter[str]
    #: Table and key of the last row; None: no row yet.
    last: tuple[str, tuple[Any, ...]] | None
    #: True if the export is complete.
    finished: bool


def tables() -> list[Table]:
    """Return the exported tables, each after those that it references."""
    return [table for table in metadata.sorted_tables if table.name not in _LOCAL_TABLES]


def read_partial(lines: Iterable[str]) -> PartialExport:
    """Read an interrupted export. Raises `InvalidInput` for any other file."""
    rows: Counter[str] = Counter()
    last: tuple[str, tuple[Any, ...]] | None = None
    reading = iter(lines)
    head = _header(next(reading, ""))
    for line in reading:
        entry = json.loads(line)
        if "end" in entry:
            return PartialExport(head["export"], head["revision"], rows, last, finished=True)
        rows[entry["table"]] += 1
        last = entry["table"], _key(metadata.tables[entry["table"]], entry["row"])
    return PartialExport(head["export"], head["revision"], rows, last, finished=False)


def export(connection: Connection, file: IO[str], before: PartialExport | None = None) -> Counter[str]:
    """Write all rows as of one moment, or those missing after ``before``. Return the number of rows by table."""
    revision = current_revision(connection)
    if before is None:
        _write(file, {"format": _FORMAT, "export": f"export_{secrets.token_hex(8)}", "revision": revision})
    elif before.revision != revision:
        raise InvalidInput("The database was upgraded since this export started: delete the file and export again.")
    rows = Counter[str]() if before is None else Counter(before.rows)
    last = None if before is None else before.last
    names = [table.name for table in tables()]
    for table in tables()[0 if last is None else names.index(last[0]) :]:
        for row in _rows(connection, table, last[1] if last is not None and last[0] == table.name else None):
            _write(file, {"table": table.name, "row": row})
            rows[table.name] += 1
    _write(file, {"end": dict(rows)})
    return rows


async def import_lines(database: Database, lines: Iterable[str]) -> Counter[str]:
    """Import an export into an empty database. Return the number of rows by table.

    An interrupted import continues where it stopped when it is repeated with the same file. Raises
    `InvalidInput` if the file is not a complete export, or the database is not empty.
    """
    reading = iter(lines)
    head = _header(next(reading, ""))
    done = await database.write(_begin_import, head)
    count, seen = 0, Counter[str]()
    end: dict[str, int] | None = None
    for batch in _batches(reading):
        entries = [_entry(line) for line in batch]
        end = next((entry["end"] for entry in entries if "end" in entry), None)
        entries = [entry for entry in entries if "row" in entry]
        seen.update(entry["table"] for entry in entries)
        count += len(entries)
        if count > done:
            await database.write(
                _import_rows, head["export"], entries[max(len(entries) - (count - done), 0) :], count
            )
    if end is None or Counter(end) != seen:
        raise InvalidInput("The export is incomplete: run `db export` again with the same file.")
    await database.write(_finish, head["export"])
    return seen


def _header(line: str) -> dict[str, Any]:
    try:
        head = json.loads(line)
        if head["format"] == _FORMAT and isinstance(head["export"], str):
            return dict(head)
    except (ValueError, LookupError, TypeError):
        pass
    raise InvalidInput("The file is not an export of this service, or of an unknown version of it.")


def _entry(line: str) -> dict[str, Any]:
    try:
        entry = json.loads(line)
        if "end" in entry or metadata.tables[entry["table"]] is not None:
            return dict(entry)
    except (ValueError, LookupError, TypeError):
        pass
    raise InvalidInput("The export is damaged or truncated: run `db export` again with the same file.")


def _rows(connection: Connection, table: Table, after: tuple[Any, ...] | None) -> Iterator[Row]:
    """Yield all rows after a key, in the order of their keys."""
    keys = list(table.primary_key.columns)
    while True:
        query = select(table).order_by(*keys).limit(BATCH_ROWS)
        if after is not None:
            query = query.where(tuple_(*keys) > tuple_(*after))
        found = [dict(row) for row in connection.execute(query).mappings()]
        yield from found
        if len(found) < BATCH_ROWS:
            return
        after = _key(table, found[-1])


def _key(table: Table, row: Row) -> tuple[Any, ...]:
    return tuple(row[column.name] for column in table.primary_key.columns)


def _write(to: IO[str], entry: dict[str, Any]) -> None:
    to.write(json.dumps(entry, ensure_ascii=False, separators=(",", ":")) + "\n")


def _batches(lines: Iterable[str]) -> Iterator[list[str]]:
    for _, numbered in groupby(enumerate(lines), lambda each: each[0] // BATCH_ROWS):
        yield [line for _, line in numbered]


def _begin_import(connection: Connection, head: dict[str, Any]) -> int:
    """Start or resume an import. Return the number of rows that are imported already."""
    known = connection.execute(select(imports).where(imports.c.id == head["export"])).one_or_none()
    if known is not None:
        return int(known.lines)
    revision = current_revision(connection)
    if head["revision"] != revision:
        raise InvalidInput(
            f"The export is of schema {head['revision']} and the database has {revision}: export it again with "
            "this version of the service."
        )
    if connection.scalar(select(func.count()).select_from(accounts)):
        raise InvalidInput("The database is not empty: import into a new one before the service uses it.")
    connection.execute(insert(imports).values(id=head["export"], lines=0, finished=False))
    return 0


def _import_rows(connection: Connection, export_id: str, entries: Sequence[dict[str, Any]], count: int) -> None:
    for name, group in groupby(entries, lambda entry: entry["table"]):
        table = metadata.tables[name]
        # Keys that differ only in unstorable characters become equal: the first row wins.
        BulkInsert(table, [column.name for column in table.columns], skip_existing=True).execute(
            connection, [_storable(table, entry["row"]) for entry in group]
        )
    connection.execute(update(imports).where(imports.c.id == export_id).values(lines=count))


def _storable(table: Table, row: Row) -> Row:
    """Return a row that every engine can store: SQLite accepts U+0000 in text, and 64 bits in any integer."""
    return {name: _storable_value(table.columns[name], value) for name, value in row.items()}


def _storable_value(column: "Column[Any]", value: Any) -> Any:
    if isinstance(value, str):
        return storable_text(value)
    if type(value) is int and isinstance(column.type, Integer) and not isinstance(column.type, BigInteger):
        return max(-MAX_INT32, min(value, MAX_INT32))
    return value


def _finish(connection: Connection, export_id: str) -> None:
    """Set PostgreSQL's ID sequences after the imported IDs. SQLite needs no such step."""
    connection.execute(update(imports).where(imports.c.id == export_id).values(finished=True))
    if connection.dialect.name != "postgresql":
        return
    for table in tables():
        if (column := table.autoincrement_column) is not None:
            highest = f"SELECT GREATEST(MAX({column.name}), 1) FROM {table.name}"  # noqa: S608 -- constant names
            sequence = f"pg_get_serial_sequence('{table.name}', '{column.name}')"
            connection.execute(text(f"SELECT setval({sequence}, ({highest}))"))
