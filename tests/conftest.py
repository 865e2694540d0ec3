"""What every test may use. Time is owned by the tests; databases are real files."""

import gc
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from xdist.scheduler import LoadScopeScheduling

from prosperstack_destination.store.database import Database
from support.clocks import SetClock
from support.postgres import GIVEN, Databases
from support.sqlite import place

# How long an example takes is the machine's business, and that of whoever shares it.
hypothesis.settings.register_profile(
    "untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("untimed")

#: Objects more than before that make Python look for garbage, as when the service runs.
_GARBAGE_THRESHOLD = 20_000
_SHARED = "TESTS_SHARED"

#: Modules whose fixtures are costly: each stays on one worker. (xdist's own mark for that, ``xdist_group``, does
#: nothing with pytest 9.2, where it tells groups by a field that is no more.)
TOGETHER = (
    *("tests/packaging/test_image_contents.py", "tests/packaging/test_wheel.py"),
    *("tests/browser/test_first_steps.py", "tests/browser/test_accessibility.py", "tests/browser/test_segment.py"),
    "tests/browser/test_daily_work.py",
)


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


def pytest_configure() -> None:
    """In the run's main process, before there are workers: make a folder that all of them know."""
    if _SHARED not in os.environ:
        os.environ[_SHARED] = tempfile.mkdtemp(prefix="tests-")
    if "DATABASE_URL" in os.environ:  # it is for those tests that ask for PostgreSQL, and no setting of the others
        os.environ[GIVEN] = os.environ.pop("DATABASE_URL")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Properties go through the lines that examples do, many times over: counting those doubles their time."""
    for item in items:
        if getattr(getattr(item, "obj", None), "is_hypothesis_test", False):
            item.add_marker(pytest.mark.no_cover)


def pytest_collection_finish() -> None:
    """What is imported and collected stays: looking through it for garbage took a tenth of the whole time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GARBAGE_THRESHOLD)


@pytest.fixture(scope="session")
def databases() -> Databases:
    """PostgreSQL, for whoever asks for it."""
    return Databases(Path(os.environ[_SHARED]))


def pytest_unconfigure() -> None:
    """In the main process, when all workers are done."""
    if "PYTEST_XDIST_WORKER" not in os.environ and (shared := os.environ.pop(_SHARED, None)):
        Databases(Path(shared)).end()
        shutil.rmtree(shared)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A migrated, empty database of each kind."""
    if request.param == "sqlite":
        yield place(f"sqlite:///{tmp_path / 'test.db'}")
    else:
        yield request.getfixturevalue("postgresql_url")


@asynccontextmanager
async def _opened(url: str) -> AsyncIterator[Database]:
    database = Database(url)
    await database.open()
    yield database
    await database.close()


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """An open, empty database, of each kind."""
    async with _opened(database_url) as database:
        yield database


@pytest.fixture
async def sqlite(tmp_path: Path) -> AsyncIterator[Database]:
    """An open, empty SQLite database."""
    async with _opened(place(f"sqlite:///{tmp_path / 'test.db'}")) as database:
        yield database


@pytest.fixture
def postgresql_url(databases: Databases) -> Iterator[str]:
    """A migrated, empty database on PostgreSQL."""
    with databases.empty() as url:
        yield url


@pytest.fixture
async def postgresql(postgresql_url: str) -> AsyncIterator[Database]:
    """An open, empty database on PostgreSQL."""
    async with _opened(postgresql_url) as database:
        yield database
