"""What every test may use. Time is owned by the tests; databases are real files."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from prosperstack_destination.state.database import Database
from support.clocks import SetClock

# How long an example takes says more of the machine's other work than of the code: speed is measured in bench/.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")


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
