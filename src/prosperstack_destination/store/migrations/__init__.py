"""Schema migrations."""

from pathlib import Path
from typing import Final

from sqlalchemy import Column, Connection, MetaData, Table, Text, inspect, select

#: Arbitrary number of PostgreSQL's advisory lock that serialises migrations.
_LOCK: Final = 7_008_701
_MIGRATIONS: Final = Path(__file__).parent
#: Alembic's table with one row: the schema's revision.
_VERSION: Final = Table("alembic_version", MetaData(), Column("version_num", Text))


def upgrade(connection: Connection) -> None:
    """Run the missing migrations within the transaction.

    Safe to repeat and to run concurrently: one process migrates, the others wait and find it done.
    """
    if connection.dialect.name == "postgresql":  # SQLite has one writer anyway
        connection.exec_driver_sql("SET LOCAL lock_timeout = 0")
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
    if current_revision(connection) != newest_revision():
        _migrate(connection)


def current_revision(connection: Connection) -> str | None:
    """Return the schema's revision; None: the database is empty."""
    if not inspect(connection).has_table(_VERSION.name):
        return None
    return connection.execute(select(_VERSION.c.version_num)).scalar_one_or_none()


def newest_revision() -> str:
    """Return the latest revision, from the name of the last migration's file, such as ``v0010_x.py``."""
    return max(path.name for path in (_MIGRATIONS / "versions").glob("v*.py"))[1:5]


def _migrate(connection: Connection) -> None:
    # Imported on demand: without Alembic the service starts 10% faster.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
