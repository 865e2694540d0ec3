"""What the tests of reconciling share."""

import pytest

from prosperstack_destination.store.database import Database
from support.world import World


@pytest.fixture
async def world(sqlite: Database) -> World:
    """One with five subscribers, of whom nothing is known."""
    return await World.begin(sqlite)
