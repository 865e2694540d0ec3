"""What every test may use. Time is owned by the tests; databases are real files."""

from collections.abc import AsyncIterator
from pathlib import Path

import hypothesis
import pytest

from prosperstack_destination.state.database import Database
from support.clocks import SetClock

# How long one example takes is the machine's business, and what else runs on it.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    """An open, empty database."""
    database = Database(f"sqlite:///{tmp_path / 'test.db'}")
    await database.open()
    yield database
    await database.close()
