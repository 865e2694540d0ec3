"""The locks."""

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
    """The entries of a lock, each on one line."""
    text = (ROOT / lock).read_text().replace("\\\n", " ")
    return [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]


def pinned(lock: str) -> dict[str, str]:
    """The version of each entry of a lock, by name; where there are several, by marker too."""
    entries = [line.partition(" --hash")[0].strip() for line in requirements(lock)]
    return {re.sub(r"\[.*?\]|==[^ ]+", "", entry): re.split("==| ", entry)[1] for entry in entries}


def names(asked: list[str | dict[str, str]]) -> set[str]:
    """The names of what pyproject.toml asks for; a group that is included is asked for by itself."""
    return {re.split(r"[\[><=;]", each)[0].strip() for each in asked if isinstance(each, str)}


@pytest.mark.parametrize("lock", LOCKS)
def test_everything_is_pinned_and_hashed(lock: str) -> None:
    """Each requirement is one version with its hashes."""
    assert requirements(lock)
    for line in requirements(lock):
        assert re.match(r"[a-z0-9._-]+(\[[a-z0-9,._-]+\])?==[^ *]+ ", line), line
        assert re.search(r" --hash=sha256:[0-9a-f]{64}( |$)", line), line


@pytest.mark.parametrize("lock", LOCKS)
def test_no_lock_says_where_to_get_things(lock: str) -> None:
    """Which index is asked is for whoever installs to say."""
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
def test_everything_that_is_asked_for_is_locked(asked: list[str | dict[str, str]], lock: str) -> None:
    """What pyproject.toml asks for is in the lock."""
    assert names(asked) <= {entry.split()[0] for entry in pinned(lock)}


def test_the_locks_agree() -> None:
    """What is tested is what runs: no package has another version in the development lock."""
    runtime, build, development = (pinned(lock) for lock in LOCKS)

    for other, known in ((runtime, "httpx"), (build, "hatchling")):
        shared = other.keys() & development.keys()
        assert known in shared
        assert {name: other[name] for name in shared} == {name: development[name] for name in shared}


def test_what_is_asked_for_with_extras_is_pinned_with_them() -> None:
    """pip takes a package with extras for another one: unpinned as such, its next release breaks every install."""
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
