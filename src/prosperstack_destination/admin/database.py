"""Database access of commands, with or without a running service: reads, writes, export, import and backup."""

import os
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import IO, Final

from prosperstack_destination.auth.vault import Vault, load_pseudonym_key
from prosperstack_destination.errors import ConfigurationError, InvalidInput, StoreUnavailable
from prosperstack_destination.store import backup as backups
from prosperstack_destination.store import migrations
from prosperstack_destination.store.backup import PartialExport
from prosperstack_destination.store.database import Database, parse_database_url

#: Name of a file that means standard input or output.
STANDARD: Final = "-"


@asynccontextmanager
async def opened(url: str, vault: Vault | None = None) -> AsyncIterator[Database]:
    """Open a database, which is created and migrated; the service may be running.

    The stored key of pseudonyms is loaded into the ``vault``.
    """
    database = Database(url)
    try:
        await database.open()
        if vault is not None:
            await database.read(load_pseudonym_key, vault)
        yield database
    finally:
        await database.close()


@asynccontextmanager
async def existing(url: str, vault: Vault | None = None) -> AsyncIterator[Database]:
    """Give access to an existing database, which is neither created nor migrated.

    The stored key of pseudonyms is loaded into the ``vault``. Raises `ConfigurationError` with advice if there is
    no database, or if its schema has another version.
    """
    if (file := missing_file(url)) is not None:
        raise ConfigurationError(
            f"There is no database at {file}. Run `serve`, which creates it, or set DATA_DIR to its folder."
        )
    database = Database(url)
    try:
        if vault is not None:
            await database.read(load_pseudonym_key, vault)
        yield database
    except StoreUnavailable as error:
        if "no such" in str(error) or "does not exist" in str(error):
            raise ConfigurationError(
                "The schema of the database is not the version of this command. Run `db upgrade`, or `serve` "
                f"of this version. ({error.__cause__})"
            ) from error
        raise
    finally:
        await database.close()


def missing_file(url: str) -> str | None:
    """Return the file of a SQLite database that does not exist, which opening would create; None if it exists."""
    parsed = parse_database_url(url)
    if parsed.get_backend_name() != "sqlite" or (parsed.database and Path(parsed.database).exists()):
        return None
    return str(parsed.database)


def describe(url: str) -> str:
    """Return a database URL without its password and options. Raises `ConfigurationError` for an invalid one."""
    return repr(parse_database_url(url).set(query={}))


async def upgrade(url: str) -> str | None:
    """Migrate the schema to the current version, and return the version."""
    async with opened(url) as database:
        return await database.read(migrations.current_revision)


def backup(url: str, target: Path) -> None:
    """Copy a SQLite database while the service uses it. Raises `ConfigurationError` and `StoreUnavailable`."""
    backups.backup(url, target)


async def export(url: str, target: str) -> tuple[Counter[str], bool]:
    """Write the database to a file or to standard output.

    A partial file is resumed, a complete one left unchanged. Returns the number of rows by table, and whether the
    file was complete already.
    """
    if target == STANDARD:
        return await _export(url, sys.stdout, None), False
    partial = _load_partial(Path(target))
    if partial is not None and partial.finished:
        return partial.rows, True
    private = os.open(target, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)  # it holds personal data
    with os.fdopen(private, "a", encoding="utf-8") as file:
        rows = await _export(url, file, partial)
        file.flush()
        os.fsync(file.fileno())
    return rows, False


async def import_export(url: str, source: str) -> Counter[str]:
    """Load an export into an empty database, and return the number of rows by table.

    An interrupted import is resumed. Raises `InvalidInput` for a file that cannot be read.
    """
    with _lines(source) as lines:
        async with opened(url) as database:
            return await backups.import_lines(database, lines)


async def _export(url: str, file: IO[str], partial: PartialExport | None) -> Counter[str]:
    async with opened(url) as database:
        return await database.read(backups.export, file, partial)


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
        return backups.read_partial(lines)


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
        raise InvalidInput(f"{source} cannot be read ({error.strerror}).") from None
