"""Keeping what was written to the sandbox, as ProsperStack would."""

import json
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prosperstack_destination.sandbox.config import SandboxConfig
from prosperstack_destination.sandbox.store import Refused

Entry = dict[str, Any]


class JournalMismatch(Exception):
    """A journal does not fit the sandbox: it has other subscribers, or is damaged. The text says what to do."""


class Journal:
    """A file with a line for each write that was accepted, after one that says which data they belong to.

    Accounts are in it by their place among the keys, never by the keys.
    """

    def __init__(self, path: Path, config: SandboxConfig) -> None:
        self._path = path
        self._header: Entry = {"subscribers": config.subscribers, "seed": config.seed}

    def replay(self, apply: Callable[[Entry], None]) -> None:
        """Apply the entries of an earlier run, in order; a new file is begun where there are none.

        A last line without an end (the sandbox was killed while it wrote) is cut off with a warning.
        Raises `JournalMismatch`, and then the file is as it was but for that line.
        """
        lines = self._lines()
        if not lines:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self.append(self._header)
            return
        for number, line in enumerate(lines, 1):
            try:
                entry = json.loads(line)
                if number > 1:
                    apply(entry)
            except (LookupError, TypeError, ValueError, Refused) as fault:
                raise JournalMismatch(
                    f"{self._path} is damaged in line {number}: remove that line, or delete the file."
                ) from fault
            if number == 1 and entry != self._header:
                raise JournalMismatch(
                    f"{self._path} belongs to a sandbox with other subscribers or another seed: "
                    "start it with those, or delete the file."
                )

    def append(self, entry: Entry) -> None:
        """Add an entry. It outlives the process at once, the machine when the system comes to write it."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    def _lines(self) -> list[bytes]:
        """The lines that have an end. What follows the last one goes: the next entry would be lost with it."""
        content = self._path.read_bytes() if self._path.exists() else b""
        end = content.rfind(b"\n") + 1
        if end < len(content):
            warnings.warn(f"{self._path}: the last line is cut off and left out", stacklevel=4)
            os.truncate(self._path, end)
        return content[:end].splitlines()
