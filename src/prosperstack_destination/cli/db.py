"""``db``: the operators' commands for the database as a whole."""

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
from prosperstack_destination.store import export as db_export
from prosperstack_destination.store.database import Database
from prosperstack_destination.store.export import PartialExport
from prosperstack_destination.store.migrate import current_revision

#: The standard input or output.
STANDARD: Final = "-"

_console = Console(stderr=True, highlight=False, soft_wrap=True)


def upgrade(*, as_json: bool = False) -> None:
    """Bring the schema up to date, and print its version."""
    version = write(current_revision)
    if as_json:
        output.print_json({"version": version})
    else:
        print(f"The schema is at version {version}.")


def export(target: str, *, as_json: bool = False) -> None:
    """Write everything to a file, or to the standard output; go on with a file that was broken off.

    What was done is told on the standard error output where the export itself takes the other one.
    """
    if target == STANDARD:
        rows = asyncio.run(_export(sys.stdout, None))
    else:
        before = _begun(Path(target))
        if before is not None and before.finished:
            if as_json:
                output.print_json({"rows": {**before.rows}})
            else:
                _console.print(f"{target} is whole already: {before.rows.total():,} rows.")
            return
        private = os.open(target, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)  # it has people's data
        with os.fdopen(private, "a", encoding="utf-8") as file:
            rows = asyncio.run(_export(file, before))
            file.flush()
            os.fsync(file.fileno())
    _told("exported", rows, as_json=as_json, to=sys.stderr if target == STANDARD else sys.stdout)


def import_(source: str, *, as_json: bool = False) -> None:
    """Take in what `export` wrote."""
    with _lines(source) as lines:
        rows = asyncio.run(_import(lines))
    _told("imported", rows, as_json=as_json)


def backup(target: Path, *, as_json: bool = False) -> None:
    """Copy a SQLite database while it is used."""
    backups.backup(read_settings().effective_database_url, target)
    if as_json:
        output.print_json({"file": str(target)})
        return
    print(f"The database is copied to {target}. Keep the secret that it is encrypted with as well.")


async def _export(file: IO[str], before: PartialExport | None) -> Counter[str]:
    database = Database(read_settings().effective_database_url)
    try:
        await database.open()
        return await database.read(db_export.export, file, before)
    finally:
        await database.close()


async def _import(lines: Iterator[str]) -> Counter[str]:
    database = Database(read_settings().effective_database_url)
    try:
        await database.open()
        return await db_export.import_lines(database, lines)
    finally:
        await database.close()


def _begun(path: Path) -> PartialExport | None:
    """What a file has already; a last line that was cut off goes."""
    if not path.exists() or path.stat().st_size == 0:
        return None
    with path.open("rb+") as file:
        end = _end_of_lines(file)
        file.truncate(end)
    if end == 0:
        return None
    with path.open(encoding="utf-8") as lines:
        return db_export.begun(lines)


def _end_of_lines(file: IO[bytes]) -> int:
    """Where the last line that has an end ends."""
    place = file.seek(0, os.SEEK_END)
    while place > 0:
        start = max(place - 65_536, 0)
        file.seek(start)
        found = file.read(place - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        place = start
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


def _told(what: str, rows: Counter[str], *, as_json: bool, to: IO[str] | None = None) -> None:
    if as_json:
        print(output.one_line({"rows": {**rows}}), file=to)
        return
    _console.print(
        f"{rows.total():,} rows {what}: " + ", ".join(f"{count:,} {name}" for name, count in rows.items())
    )
