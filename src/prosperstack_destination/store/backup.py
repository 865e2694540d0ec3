"""Online backup of a SQLite database."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from prosperstack_destination.errors import ConfigurationError, StoreUnavailable
from prosperstack_destination.store.database import backend_of, parse_database_url
from prosperstack_destination.store.dialects import unavailable


def backup(url: str, target: Path) -> None:
    """Copy the database as of one moment into a new file, without blocking transactions.

    Raises `ConfigurationError` if there is no such file or the target exists, and `StoreUnavailable` if the copy
    fails.
    """
    source = parse_database_url(url).database if backend_of(url) == "sqlite" else None
    if source is None:
        raise ConfigurationError("`db backup` copies SQLite files; for PostgreSQL use pg_dump, or `db export`.")
    if not Path(source).exists():
        raise ConfigurationError(f"There is no database at {source} yet.")
    if target.exists():
        raise ConfigurationError(f"{target} exists already: choose another name.")
    partial = target.with_name(target.name + ".partial")
    partial.unlink(missing_ok=True)
    try:
        _copy(source, partial)
        partial.replace(target)
    except (sqlite3.Error, OSError) as error:
        partial.unlink(missing_ok=True)
        raise _failed(error) from error


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


def _failed(error: Exception) -> StoreUnavailable:
    return unavailable(f"the copy failed: {error}")
