"""Bringing a database's schema up to date."""

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

#: Whoever migrates on PostgreSQL holds this advisory lock. The number means nothing.
_LOCK: Final = 7_008_701


def upgrade(connection: Connection) -> None:
    """Run the migrations that this database has not had, within the transaction.

    Safe to repeat, and to run from several processes at once: one migrates, the others wait and find it done.
    """
    if connection.dialect.name == "postgresql":  # SQLite has one writer anyway
        connection.exec_driver_sql("SET LOCAL lock_timeout = 0")
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
    config = _config()
    if current_revision(connection) == ScriptDirectory.from_config(config).get_current_head():
        return
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def current_revision(connection: Connection) -> str | None:
    """The schema's version; None: the database is empty."""
    return MigrationContext.configure(connection).get_current_revision()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    return config
