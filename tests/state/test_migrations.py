"""The schema's versions."""

from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection

from prosperstack_destination.state import migrating
from prosperstack_destination.state.database import Database
from prosperstack_destination.state.tables import metadata

pytestmark = pytest.mark.anyio


def drift(connection: Connection) -> list[Any]:
    """What the tables in the code have that the database has not, and the other way round."""
    return list(compare_metadata(MigrationContext.configure(connection), metadata))


async def test_the_migrations_make_the_tables(database: Database) -> None:
    """A migrated database has exactly the tables that the code knows."""
    assert await database.read(drift) == []


async def test_migrating_again_changes_nothing(database: Database) -> None:
    """A database that is up to date stays as it is."""
    await database.write(migrating.upgrade)

    assert await database.read(drift) == []
