"""The schema's versions."""

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
    """What the tables in the code have that the database has not, and the other way round."""
    return list(compare_metadata(MigrationContext.configure(connection), metadata))


async def test_the_migrations_make_the_tables(database: Database) -> None:
    """A migrated database has exactly the tables that the code knows."""
    assert await database.read(drift) == []


async def test_migrating_again_changes_nothing(database: Database) -> None:
    """A database that is up to date stays as it is."""
    await database.write(migrations.upgrade)

    assert await database.read(drift) == []


def test_the_newest_version_is_that_of_the_last_migration() -> None:
    """The version in the last file's name is where Alembic finds the migrations to end."""
    scripts = ScriptDirectory(str(Path(migrations.__file__).parent))

    assert migrations.newest_revision() == scripts.get_current_head()


async def test_a_new_database_has_no_version_and_then_the_newest(database_url: str, tmp_path: Path) -> None:
    """An empty database has no version; one that was opened has the newest."""
    empty = create_engine(f"sqlite:///{tmp_path / 'empty.db'}")
    with empty.begin() as connection:
        assert migrations.current_revision(connection) is None
    empty.dispose()
    database = Database(database_url)
    await database.open()

    assert await database.read(migrations.current_revision) == migrations.newest_revision()
    await database.close()


async def test_a_version_that_is_not_known_is_refused(sqlite: Database) -> None:
    """A database that a newer release has migrated is not touched by this one."""

    def newer(connection: Connection) -> None:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")

    await sqlite.write(newer)

    with pytest.raises(CommandError, match="9999"):
        await sqlite.write(migrations.upgrade)


def test_a_start_without_a_migration_does_without_alembic(tmp_path: Path) -> None:
    """Opening a database that is up to date imports no Alembic, which would make every start slower."""
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
