"""Print the part of CHANGELOG.md about one version, for its release on GitHub.

`python tools/release_notes.py v1.2.3` fails where the tag is not the package's version, or the CHANGELOG
does not have it.
"""

import re
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
_VERSION: Final = re.compile(r'^__version__ = "(.+)"$', re.MULTILINE)
#: A heading of a version: its number, alone or in brackets, and perhaps its date.
_HEADING: Final = re.compile(r"^## \[?(?P<version>\d[^\s\]]*|Unreleased)\]?(?: - .*)?$", re.MULTILINE)


class ReleaseError(Exception):
    """A tag that cannot be released as the project is; the message says why."""


def notes_of(changelog: str, version: str) -> str:
    """Return the text below the heading of a version.

    Raises `ReleaseError` where the version has no heading, or no text.
    """
    headings = list(_HEADING.finditer(changelog))
    for heading, following in zip(headings, [*headings[1:], None], strict=True):
        if heading["version"] == version:
            text = changelog[heading.end() : following.start() if following else None].strip()
            if text:
                return text
            raise ReleaseError(f"CHANGELOG.md says nothing about {version}.")
    raise ReleaseError(f"CHANGELOG.md has no heading '## {version}': rename 'Unreleased', and add its date.")


def release_notes(tag: str, root: Path = ROOT) -> str:
    """Return the notes of a tagged version.

    Raises `ReleaseError` where the tag is not that of the package's version.
    """
    found = _VERSION.search((root / "src/prosperstack_destination/__init__.py").read_text())
    version = found[1] if found else ""
    if tag != f"v{version}":
        raise ReleaseError(f"The tag is {tag}, and the version is {version}: the tag has to be v{version}.")
    return notes_of((root / "CHANGELOG.md").read_text(), version)


def main() -> int:
    """Print the notes of the tag that is the only argument; return 1 where there are none."""
    try:
        [tag] = sys.argv[1:]
        notes = release_notes(tag)
    except ValueError:
        sys.stderr.write("usage: python tools/release_notes.py TAG\n")
        return 2
    except ReleaseError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(notes + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
