"""What every test may use. Time is owned by the tests; databases are real files."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from prosperstack_destination.state.database import Database
from support.clocks import SetClock

#: Modules whose fixtures are costly: each stays on one worker. (xdist's own mark for that, ``xdist_group``, does
#: nothing with pytest 9.2, where it tells groups by a field that is no more.)
TOGETHER = ("tests/packaging/test_image_contents.py", "tests/packaging/test_wheel.py")


class _Scheduling(LoadScopeScheduling):  # type: ignore[misc] # xdist's schedulers have no types
    def _split_scope(self, nodeid: str) -> str:
        module = nodeid.partition("::")[0]
        return module if module in TOGETHER else nodeid


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> _Scheduling:
    return _Scheduling(config, log)


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
