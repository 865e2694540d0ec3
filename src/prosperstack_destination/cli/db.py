"""Implementation of `db`: upgrade, export, import and back up the database."""

import asyncio
import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from rich.console import Console

from prosperstack_destination.cli import output
from prosperstack_destination.cli.session import write
from prosperstack_destination.errors import ConfigurationError
from prosperstack_destination.settings import read_settings
from prosperstack_destination.store import backup as backups
from prosperstack_destination.store import backup as db_export
from prosperstack_destination.store.backup import PartialExport
from prosperstack_destination.store.database import Database
from prosperstack_destination.store.migrations import current_revision

#: Argument for standard input or output.
STANDARD: Final = "-"

_console = Console(stderr=True, highlight=False, soft_wrap=True)


def upgrade(*, as_json: bool = False) -> None:
    """Migrate the schema to the current version, and print the version."""
    version = write(current_revision)
    if as_json:
        output.print_json({"version": version})
    else:
        print(f"The schema is at version {version}.")


def export(target: str, *, as_json: bool = False) -> None:
    """Write the database to a file or to standard output. A partial file is resumed, a complete one left unchanged.

    The counts go to standard error if the export goes to standard output.
    """
    if target == STANDARD:
        rows = asyncio.run(_export(sys.stdout, None))
    else:
        partial = _load_partial(Path(target))
        if partial is not None and partial.finished:
            if as_json:
                output.print_json({"rows": {**partial.rows}})
            else:
                _console.print(f"{target} is complete already: {partial.rows.total():,} rows.")
            return
        private = os.open(target, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)  # it holds personal data
        with os.fdopen(private, "a", encoding="utf-8") as file:
            rows = asyncio.run(_export(file, partial))
            file.flush()
            os.fsync(file.fileno())
    _report("exported", rows, as_json=as_json, to=sys.stderr if target == STANDARD else sys.stdout)


def import_(source: str, *, as_json: bool = False) -> None:
    """Load a file that `export` wrote into an empty database. An interrupted import is resumed."""
    with _lines(source) as lines:
        rows = asyncio.run(_import(lines))
    _report("imported", rows, as_json=as_json)


def backup(target: Path, *, as_json: bool = False) -> None:
    """Copy a SQLite database while the service uses it."""
    backups.backup(read_settings().effective_database_url, target)
    if as_json:
        output.print_json({"file": str(target)})
        return
    print(f"The database is copied to {target}. Back up its secret, too: SECRET_KEY or secret.key.")


async def _export(file: IO[str], partial: PartialExport | None) -> Counter[str]:
    database = Database(read_settings().effective_database_url)
    try:
        await database.open()
        return await database.read(db_export.export, file, partial)
    finally:
        await database.close()


async def _import(lines: Iterator[str]) -> Counter[str]:
    database = Database(read_settings().effective_database_url)
    try:
        await database.open()
        return await db_export.import_lines(database, lines)
    finally:
        await database.close()


def _load_partial(path: Path) -> PartialExport | None:
    """Return the state of a partial export, after truncating an incomplete last line."""
    if not path.exists() or path.stat().st_size == 0:
        return None
    with path.open("rb+") as file:
        end = _end_of_lines(file)
        file.truncate(end)
    if end == 0:
        return None
    with path.open(encoding="utf-8") as lines:
        return db_export.read_partial(lines)


def _end_of_lines(file: IO[bytes]) -> int:
    """Return the offset of the end of the last complete line, in bytes."""
    end = file.seek(0, os.SEEK_END)
    while end > 0:
        start = max(end - 65_536, 0)
        file.seek(start)
        newline = file.read(end - start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


@contextmanager
def _lines(source: str) -> Iterator[Iterator[str]]:
    if source == STANDARD:
        yield iter(sys.stdin)
        return
    try:
        with Path(source).open(encoding="utf-8") as file:
            yield iter(file)
    except OSError as error:
        raise ConfigurationError(f"{source} cannot be read ({error.strerror}).") from None


def _report(action: str, rows: Counter[str], *, as_json: bool, to: IO[str] | None = None) -> None:
    if as_json:
        print(output.one_line({"rows": {**rows}}), file=to)
        return
    _console.print(
        f"{rows.total():,} rows {action}: " + ", ".join(f"{count:,} {name}" for name, count in rows.items())
    )
