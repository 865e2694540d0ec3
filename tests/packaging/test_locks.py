"""Tests of the lock files."""

import re
import tomllib
from collections.abc import Iterable
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCKS = ["requirements.lock", "requirements-build.lock", "requirements-dev.lock", "requirements-deploy.lock"]


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
        (PYPROJECT["dependency-groups"]["deploy"], "requirements-deploy.lock"),
        (PYPROJECT["build-system"]["requires"], "requirements-build.lock"),
        (PYPROJECT["build-system"]["requires"], "requirements-dev.lock"),
    ],
    ids=["runtime", "development", "build", "deploy", "image", "wheel"],
)
def test_required_packages_are_locked(asked: list[str | dict[str, str]], lock: str) -> None:
    """Every package that pyproject.toml requires is in the lock."""
    assert names(asked) <= {entry.split()[0] for entry in pinned(lock)}


def test_locks_have_equal_versions() -> None:
    """Packages have equal versions in all locks, so that tests run with the installed versions."""
    runtime, build, development, deploy = (pinned(lock) for lock in LOCKS)

    for other, known in ((runtime, "httpx"), (build, "hatchling"), (deploy, "pyyaml")):
        shared = other.keys() & development.keys()
        assert known in shared
        assert {name: other[name] for name in shared} == {name: development[name] for name in shared}


def required(asked: Iterable[Requirement], seen: set[tuple[str, str]]) -> set[str]:
    """Return the names of all packages that these requirements lead to on this machine, with their extras."""
    found: set[str] = set()
    for each in asked:
        name = canonicalize_name(each.name)
        found.add(name)
        for extra in {"", *each.extras}:
            if (name, extra) not in seen:
                seen.add((name, extra))
                wanted = map(Requirement, distribution(name).requires or ())
                found |= required(
                    [one for one in wanted if one.marker is None or one.marker.evaluate({"extra": extra})], seen
                )
    return found


def test_locks_are_complete() -> None:
    """The locks have everything that their packages require, since pip installs them without dependencies."""
    groups = PYPROJECT["dependency-groups"]
    asked = [*PYPROJECT["project"]["dependencies"], *groups["build"], *groups["dev"]]
    locked = {name.split()[0] for lock in LOCKS[:3] for name in pinned(lock)}
    here = [Requirement(each) for each in asked if isinstance(each, str)]

    assert required([one for one in here if one.marker is None or one.marker.evaluate()], set()) <= locked


@pytest.mark.parametrize(
    ("asked", "lock"),
    [
        (PYPROJECT["project"]["dependencies"], "requirements.lock"),
        *(
            (PYPROJECT["dependency-groups"][group], f"requirements-{group}.lock")
            for group in ("build", "dev", "deploy")
        ),
    ],
    ids=["runtime", "build", "development", "deploy"],
)
def test_locks_are_current(asked: list[str | dict[str, str]], lock: str) -> None:
    """Each locked version is one that pyproject.toml allows: run `make lock` after a change."""
    versions = {entry.split()[0]: version for entry, version in pinned(lock).items()}
    wrong = [
        each
        for each in asked
        if isinstance(each, str) and versions[Requirement(each).name] not in Requirement(each).specifier
    ]

    assert wrong == []


@pytest.mark.parametrize("name", ["fastapi", "httpx", "pydantic", "sqlalchemy", "starlette", "uvicorn"])
def test_frameworks_are_bounded(name: str) -> None:
    """The locked minor version of a framework is the newest that pyproject.toml allows: it is the tested one."""
    major, minor = pinned("requirements.lock")[name].split(".")[:2]
    asked = map(Requirement, PYPROJECT["project"]["dependencies"])
    [bound] = [each.specifier for each in asked if each.name == name]

    assert f"{major}.{int(minor) + 1}.0" not in bound


def test_uv_lock_is_not_committed() -> None:
    """uv's own lock names an index, so Git ignores it."""
    assert "uv.lock" in (ROOT / ".gitignore").read_text().splitlines()
