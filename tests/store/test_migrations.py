"""Schema migrations."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, create_engine

from prosperstack_destination.store import migrations
from prosperstack_destination.store.database import Database
from prosperstack_destination.store.tables import metadata
from support.processes import environment

pytestmark = pytest.mark.anyio


def drift(connection: Connection) -> list[Any]:
    """Return the differences between the tables of the code and of the database."""
    return list(compare_metadata(MigrationContext.configure(connection), metadata))


async def test_migrations_create_the_tables(database: Database) -> None:
    """A migrated database has exactly the tables of the code."""
    assert await database.read(drift) == []


async def test_migration_is_idempotent(database: Database) -> None:
    """An up-to-date database stays as it is."""
    await database.write(migrations.upgrade)

    assert await database.read(drift) == []


def test_newest_revision_is_the_last_migration() -> None:
    """The revision in the last file's name is Alembic's head."""
    scripts = ScriptDirectory(str(Path(migrations.__file__).parent))

    assert migrations.newest_revision() == scripts.get_current_head()


async def test_opened_database_has_the_newest_revision(database_url: str, tmp_path: Path) -> None:
    """An empty database has no revision; an opened one has the newest."""
    empty = create_engine(f"sqlite:///{tmp_path / 'empty.db'}")
    with empty.begin() as connection:
        assert migrations.current_revision(connection) is None
    empty.dispose()
    database = Database(database_url)
    await database.open()

    assert await database.read(migrations.current_revision) == migrations.newest_revision()
    await database.close()


async def test_unknown_revision_is_rejected(sqlite: Database) -> None:
    """A database that a newer release migrated is not changed by this one."""

    def newer(connection: Connection) -> None:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")

    await sqlite.write(newer)

    with pytest.raises(CommandError, match="9999"):
        await sqlite.write(migrations.upgrade)


def test_start_without_migration_does_not_import_alembic(tmp_path: Path) -> None:
    """Opening an up-to-date database imports no Alembic, which would slow every start."""
    path = tmp_path / "there.db"
    code = (
        "import asyncio, sys\n"
        "from prosperstack_destination.store.database import Database\n"
        f"database = Database('sqlite:///{path}')\n"
        "asyncio.run(database.open())\n"
        "print('alembic' in sys.modules)\n"
    )
    told = [
        subprocess.run(  # noqa: S603 -- this Python
            [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True
        ).stdout.strip()
        for _ in range(2)
    ]

    assert told == ["True", "False"]
