"""Fixtures of the reconciler's tests."""

import pytest

from prosperstack_destination.store.database import Database
from support.world import World


@pytest.fixture
async def world(sqlite: Database) -> World:
    """A world with five subscribers, none of them known yet."""
    return await World.begin(sqlite)
