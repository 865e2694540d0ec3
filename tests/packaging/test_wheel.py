"""What is published."""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from prosperstack_destination import __version__

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the source distribution."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)  # noqa: S603 -- the project's own build
    return folder


def test_the_wheel_is_whole(built: Path) -> None:
    """The wheel has the migrations, the type information, the licence, and the command."""
    [path] = built.glob("*.whl")
    with zipfile.ZipFile(path) as wheel:
        names = wheel.namelist()
        entry_points = wheel.read(next(name for name in names if name.endswith("entry_points.txt"))).decode()

    migrations = "prosperstack_destination/state/migrations"
    assert "prosperstack_destination/py.typed" in names
    assert f"{migrations}/env.py" in names
    assert any(name.startswith(f"{migrations}/versions/v0001") for name in names)
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert "prosperstack-destination = prosperstack_destination.cli:main" in entry_points
    assert __version__ in path.name
    assert not any(name.startswith("tests") for name in names)


def test_the_source_distribution_can_be_tested(built: Path) -> None:
    """The source distribution has the tests, and what they read."""
    [path] = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}

    assert {"README.md", ".env.example", "Dockerfile", "tests/conftest.py", "requirements.lock"} <= names
