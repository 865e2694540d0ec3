"""Tests of the published distributions."""

import email.parser
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.message import Message
from pathlib import Path

import pytest

from prosperstack_destination import __version__

pytestmark = pytest.mark.whole

ROOT = Path(__file__).parents[2]
PACKAGE = "prosperstack_destination"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def build(source: Path, folder: Path, *arguments: str) -> None:
    """Build a source tree's distributions into a folder, with the pinned backend."""
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder), *arguments]
    subprocess.run(command, cwd=source, check=True, capture_output=True)  # noqa: S603 -- the project's own build


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the wheel and the source distribution."""
    folder = tmp_path_factory.mktemp("dist")
    build(ROOT, folder)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """Return the files of the folder's wheel by name."""
    [path] = folder.glob("*.whl")
    with zipfile.ZipFile(path) as wheel:
        return {name: wheel.read(name) for name in wheel.namelist()}


@pytest.fixture(scope="module")
def wheel(built: Path) -> dict[str, bytes]:
    """Files of the wheel by name."""
    return contents(built)


@pytest.fixture(scope="module")
def metadata(wheel: dict[str, bytes]) -> Message:
    """Metadata of the wheel."""
    return email.parser.BytesParser().parsebytes(wheel[f"{PACKAGE}-{__version__}.dist-info/METADATA"])


def test_wheel_has_every_file(wheel: dict[str, bytes]) -> None:
    """Every file of the package is in the wheel, also templates and other data."""
    source = ROOT / "src"
    files = {path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()}

    assert {name for name in wheel if ".dist-info/" not in name} == {
        name for name in files if "__pycache__" not in name
    }


def test_wheel_has_migrations(wheel: dict[str, bytes]) -> None:
    """The wheel has the marker of types, and the files that Alembic reads."""
    assert f"{PACKAGE}/py.typed" in wheel
    assert f"{PACKAGE}/store/migrations/env.py" in wheel
    assert f"{PACKAGE}/store/migrations/script.py.mako" in wheel
    assert any(name.startswith(f"{PACKAGE}/store/migrations/versions/v0001") for name in wheel)


def test_wheel_has_metadata(wheel: dict[str, bytes], metadata: Message) -> None:
    """The metadata has the version, the licence and its text, and the required Python."""
    assert metadata["Name"] == PROJECT["name"]
    assert metadata["Version"] == __version__
    assert metadata["License-Expression"] == "MIT"
    assert metadata["Requires-Python"] == PROJECT["requires-python"]
    needed = [each for each in metadata.get_all("Requires-Dist", []) if "extra ==" not in each]
    assert len(needed) == len(PROJECT["dependencies"])
    assert set(metadata.get_all("Provides-Extra", [])) == set(PROJECT["optional-dependencies"])
    assert wheel[f"{PACKAGE}-{__version__}.dist-info/licenses/LICENSE"] == (ROOT / "LICENSE").read_bytes()


def test_wheel_has_the_command(wheel: dict[str, bytes]) -> None:
    """The wheel installs the command."""
    entry_points = wheel[f"{PACKAGE}-{__version__}.dist-info/entry_points.txt"].decode()

    assert f"prosperstack-destination = {PACKAGE}.cli:main" in entry_points.splitlines()


def test_wheel_works_without_the_source(built: Path, tmp_path: Path) -> None:
    """The unpacked wheel prints its version, runs as a module, and creates a database."""
    [path] = built.glob("*.whl")
    with zipfile.ZipFile(path) as wheel:
        wheel.extractall(tmp_path / "installed")  # noqa: S202 -- what was just built
    environment = {"PYTHONPATH": str(tmp_path / "installed"), "DATA_DIR": str(tmp_path / "data"), "PATH": ""}
    module = [sys.executable, "-m", PACKAGE]

    def run(*arguments: str, stdin: str = "") -> str:
        return subprocess.run(  # noqa: S603 -- the same
            [*module, *arguments],
            cwd=tmp_path,
            env=environment,
            input=stdin,
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    assert run("--version").strip() == __version__
    assert run("accounts", "add", "--unchecked", stdin="key_test_wheel\n").startswith("acct_")
    assert (tmp_path / "data" / "destination.db").exists()


def test_source_distribution_builds_the_wheel(built: Path, wheel: dict[str, bytes], tmp_path: Path) -> None:
    """The source distribution has the tests and their files, and builds an equal wheel."""
    [path] = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        archive.extractall(tmp_path, filter="data")
    unpacked = tmp_path / f"{PACKAGE}-{__version__}"
    build(unpacked, tmp_path / "dist", "-t", "wheel")
    tests = {path.relative_to(ROOT) for path in (ROOT / "tests").rglob("*.py")}

    assert {path.relative_to(unpacked) for path in (unpacked / "tests").rglob("*.py")} == tests
    for name in ("README.md", ".env.example", "Dockerfile", ".dockerignore", "requirements.lock"):
        assert (unpacked / name).is_file(), name
    assert contents(tmp_path / "dist") == wheel
