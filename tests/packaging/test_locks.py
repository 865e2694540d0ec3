"""The locks."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def requirements(lock: str) -> list[str]:
    """The entries of a lock, each on one line."""
    text = (ROOT / lock).read_text().replace("\\\n", " ")
    return [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_everything_is_pinned_and_hashed(lock: str) -> None:
    """Each requirement is one version with its hashes, and none says where it is to be had."""
    for line in requirements(lock):
        assert re.match(r"[a-z0-9._\[\]-]+==[^ ]+ ", line), line
        assert "--hash=sha256:" in line, line
    assert not re.search(r"--(extra-)?index-url|--find-links|https?://|file:", (ROOT / lock).read_text())


def test_every_dependency_is_in_the_lock() -> None:
    """What pyproject.toml asks for is pinned."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pinned = {line.partition("==")[0].partition("[")[0] for line in requirements("requirements.lock")}

    assert {re.split(r"[\[><=;]", each)[0].strip() for each in project["dependencies"]} <= pinned
