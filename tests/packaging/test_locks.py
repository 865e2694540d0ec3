"""Tests of the lock files."""

import re
import tomllib
from importlib.metadata import distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCKS = ["requirements.lock", "requirements-build.lock", "requirements-dev.lock"]


def requirements(lock: str) -> list[str]:
    """Return the entries of a lock, one a line."""
    text = (ROOT / lock).read_text().replace("\\\n", " ")
    return [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]


def pinned(lock: str) -> dict[str, str]:
    """Return the versions of a lock by name, and by marker if a name has several."""
    entries = [line.partition(" --hash")[0].strip() for line in requirements(lock)]
    return {re.sub(r"\[.*?\]|==[^ ]+", "", entry): re.split("==| ", entry)[1] for entry in entries}


def names(asked: list[str | dict[str, str]]) -> set[str]:
    """Return the names of required packages, without included groups."""
    return {re.split(r"[\[><=;]", each)[0].strip() for each in asked if isinstance(each, str)}


@pytest.mark.parametrize("lock", LOCKS)
def test_requirements_are_pinned_and_hashed(lock: str) -> None:
    """Each requirement is one version with its hashes."""
    assert requirements(lock)
    for line in requirements(lock):
        assert re.match(r"[a-z0-9._-]+(\[[a-z0-9,._-]+\])?==[^ *]+ ", line), line
        assert re.search(r" --hash=sha256:[0-9a-f]{64}( |$)", line), line


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_names_no_index(lock: str) -> None:
    """A lock names no index: the installer chooses it."""
    named = re.findall(r"-index-url|--find-links|https?://|file:", (ROOT / lock).read_text())

    assert named == []


@pytest.mark.parametrize(
    ("asked", "lock"),
    [
        (PYPROJECT["project"]["dependencies"], "requirements.lock"),
        (PYPROJECT["dependency-groups"]["dev"], "requirements-dev.lock"),
        (PYPROJECT["dependency-groups"]["build"], "requirements-build.lock"),
        (PYPROJECT["build-system"]["requires"], "requirements-build.lock"),
        (PYPROJECT["build-system"]["requires"], "requirements-dev.lock"),
    ],
    ids=["runtime", "development", "build", "image", "wheel"],
)
def test_required_packages_are_locked(asked: list[str | dict[str, str]], lock: str) -> None:
    """Every package that pyproject.toml requires is in the lock."""
    assert names(asked) <= {entry.split()[0] for entry in pinned(lock)}


def test_locks_have_equal_versions() -> None:
    """Packages have equal versions in all locks, so that tests run with the installed versions."""
    runtime, build, development = (pinned(lock) for lock in LOCKS)

    for other, known in ((runtime, "httpx"), (build, "hatchling")):
        shared = other.keys() & development.keys()
        assert known in shared
        assert {name: other[name] for name in shared} == {name: development[name] for name in shared}


def test_extras_are_pinned() -> None:
    """A requirement with extras is pinned with them: pip needs hashes for that form, too."""
    entries = [line.partition("==")[0] for lock in LOCKS for line in requirements(lock)]
    known = {Requirement(entry).name: set[str]() for entry in entries}
    for entry in entries:
        known[Requirement(entry).name] |= Requirement(entry).extras
    asked = [
        (distribution.name, requirement)
        for distribution in distributions()
        for requirement in map(Requirement, distribution.requires or ())
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""})
    ]
    missing = {
        f"{who} asks for {what}" for who, what in asked if what.extras - known.get(what.name.lower(), what.extras)
    }

    assert any(what.extras for _, what in asked)
    assert missing == set()
