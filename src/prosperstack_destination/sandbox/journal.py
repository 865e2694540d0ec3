"""Keeping what was written to the sandbox, as ProsperStack would."""

import json
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from prosperstack_destination.sandbox.config import SandboxConfig

Entry = dict[str, Any]


class JournalMismatch(Exception):
    """A journal was written by a sandbox with other subscribers; the text says what to do."""


class Journal:
    """A file with a line for each write that was accepted, after one that says which data they belong to."""

    def __init__(self, path: Path, config: SandboxConfig) -> None:
        self._path = path
        self._header: Entry = {"subscribers": config.subscribers, "seed": config.seed}

    def replay(self, apply: Callable[[Entry], None]) -> None:
        """Apply the entries of an earlier run, in order. Raises `JournalMismatch`."""
        if not self._path.exists():
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._write(self._header)
            return
        entries = self._entries()
        if next(entries, None) != self._header:
            raise JournalMismatch(
                f"{self._path} belongs to a sandbox with other subscribers or another seed: "
                "start it with those, or delete the file."
            )
        for entry in entries:
            apply(entry)

    def append(self, entry: Entry) -> None:
        """Add an entry."""
        self._write(entry)

    def _write(self, entry: Entry) -> None:
        with self._path.open("a") as file:
            file.write(json.dumps(entry) + "\n")

    def _entries(self) -> Iterator[Entry]:
        with self._path.open() as file:
            for number, line in enumerate(file, 1):
                try:
                    yield json.loads(line)
                except json.JSONDecodeError:
                    warnings.warn(f"{self._path}, line {number}, is cut off and left out", stacklevel=2)
