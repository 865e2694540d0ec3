"""Journal that keeps the writes to the sandbox across restarts."""

import json
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prosperstack_destination.sandbox.account import SandboxConfig
from prosperstack_destination.sandbox.store import Refused

Entry = dict[str, Any]


class JournalMismatch(Exception):
    """Error for a journal of other subscribers, or a damaged one. The text has the advice."""


class Journal:
    """File with a header line that names its data, and a line for each accepted write.

    An entry names its account by the position of its key. Keys are not in the file.
    """

    def __init__(self, path: Path, config: SandboxConfig) -> None:
        self._path = path
        self._header: Entry = {"subscribers": config.subscribers, "seed": config.seed}

    def replay(self, apply: Callable[[Entry], None]) -> None:
        """Apply the entries of an earlier run in order, or begin a new file if there are none.

        An incomplete last line (the sandbox was killed during a write) is removed with a warning.
        Raises `JournalMismatch`, and leaves the other lines of the file unchanged.
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
            except (LookupError, TypeError, ValueError, Refused) as error:
                raise JournalMismatch(
                    f"{self._path} is damaged in line {number}: remove that line, or delete the file."
                ) from error
            if number == 1 and entry != self._header:
                raise JournalMismatch(
                    f"{self._path} belongs to a sandbox with other subscribers or another seed: "
                    "start it with those, or delete the file."
                )

    def append(self, entry: Entry) -> None:
        """Append an entry. It survives a kill of the process, but not always a crash of the machine (no fsync)."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    def _lines(self) -> list[bytes]:
        """Return the complete lines, after truncating an incomplete one, which would corrupt the next entry."""
        content = self._path.read_bytes() if self._path.exists() else b""
        end = content.rfind(b"\n") + 1
        if end < len(content):
            warnings.warn(f"{self._path}: the last line is incomplete and was removed", stacklevel=4)
            os.truncate(self._path, end)
        return content[:end].splitlines()
