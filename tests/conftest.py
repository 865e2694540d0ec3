"""What every test may use. Time is owned by the tests; databases are real files."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from xdist.scheduler import LoadScopeScheduling

from prosperstack_destination.state.database import Database
from support.clocks import SetClock
from support.postgres import Databases

# How long an example takes is the machine's business, and that of whoever shares it.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

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


@pytest.fixture(scope="session")
def databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Databases]:
    """PostgreSQL, for whoever asks for it."""
    base = tmp_path_factory.getbasetemp()
    in_worker = "PYTEST_XDIST_WORKER" in os.environ
    databases = Databases(base.parent if in_worker else base)
    yield databases
    if not in_worker:  # or it is for the run's main process: others may need it still
        databases.end()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """In the main process, when all workers are done."""
    if "PYTEST_XDIST_WORKER" not in os.environ and session.config.getoption("numprocesses", 0):
        Databases(session.config._tmp_path_factory.getbasetemp()).end()  # type: ignore[attr-defined] # pytest's own


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database of each kind; SQLite's may have to be migrated."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'test.db'}"
    else:
        with request.getfixturevalue("databases").empty() as url:
            yield url


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """An open, empty database, of each kind."""
    database = Database(database_url)
    await database.open()
    yield database
    await database.close()


@pytest.fixture
async def sqlite(tmp_path: Path) -> AsyncIterator[Database]:
    """An open, empty SQLite database."""
    database = Database(f"sqlite:///{tmp_path / 'test.db'}")
    await database.open()
    yield database
    await database.close()
