"""Tests of the release notes: the part of the CHANGELOG about one version."""

from pathlib import Path

import pytest
from tools.release_notes import ROOT, ReleaseError, notes_of, release_notes

from prosperstack_destination import __version__

CHANGELOG = """# Changelog

## Unreleased

## [1.1.0] - 2026-12-01

### Added

- Two.

## 1.0.0

- One.
"""


@pytest.mark.parametrize(("version", "notes"), [("1.1.0", "### Added\n\n- Two."), ("1.0.0", "- One.")])
def test_notes_are_the_part_of_one_version(version: str, notes: str) -> None:
    """The notes end where the next version begins; brackets and a date are allowed in the heading."""
    assert notes_of(CHANGELOG, version) == notes


@pytest.mark.parametrize(
    ("version", "reason"), [("1.2.0", "no heading"), ("1.1", "no heading"), ("Unreleased", "nothing")]
)
def test_version_without_notes_is_refused(version: str, reason: str) -> None:
    """A version without a heading, or with an empty part, is not released."""
    with pytest.raises(ReleaseError, match=reason):
        notes_of(CHANGELOG, version)


def project(folder: Path, version: str) -> Path:
    """Make a project of a version in a folder."""
    package = folder / "src/prosperstack_destination"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(f'"""Package."""\n\n__version__ = "{version}"\n')
    (folder / "CHANGELOG.md").write_text(CHANGELOG)
    return folder


def test_tag_is_that_of_the_version(tmp_path: Path) -> None:
    """A tag of another version than the package's is refused, so that nothing is published under a wrong name."""
    root = project(tmp_path, "1.1.0")

    assert release_notes("v1.1.0", root) == "### Added\n\n- Two."
    for tag in ("1.1.0", "v1.0.0", "v1.1.0rc1"):
        with pytest.raises(ReleaseError, match=r"has to be v1\.1\.0"):
            release_notes(tag, root)


def test_changelog_has_headings_that_are_understood() -> None:
    """The CHANGELOG of this project has a part that release notes can be taken from."""
    text = (ROOT / "CHANGELOG.md").read_text()
    current = __version__ if f"## {__version__}" in text else "Unreleased"

    assert notes_of(text, current).startswith("### ")
