"""A migrated SQLite database to copy: migrating one for each test took as long as the tests themselves."""

import tempfile
from functools import cache
from pathlib import Path

from sqlalchemy import create_engine, make_url

from prosperstack_destination.store import migrations


def place(url: str) -> str:
    """Have a migrated, empty database at the URL of a file that is not there yet; the same URL."""
    path = Path(make_url(url).database or "")
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_migrated())
    return url


@cache
def _migrated() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "migrated.db")
        engine = create_engine(f"sqlite:///{path}")
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA journal_mode = WAL")  # or each that opens a copy changes its mode
        with engine.begin() as connection:
            migrations.upgrade(connection)
        engine.dispose()
        return path.read_bytes()
