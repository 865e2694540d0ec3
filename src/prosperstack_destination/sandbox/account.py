"""Account of one API key in a sandbox: configuration, data, rate limit, and the journal of all writes."""

import json
import math
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prosperstack_destination.sandbox.store import AccountData, Refused

Shown = dict[str, object]
Entry = dict[str, Any]


@dataclass(frozen=True, slots=True)
class SandboxConfig:
    """Subscribers, rate limit, latency, keys and journal of a sandbox."""

    #: Number of subscribers in each account.
    subscribers: int = 1000
    #: Requests in a window, for each account.
    rate_limit: int = 100
    window_seconds: float = 60.0
    #: Minimum time of each response, in milliseconds.
    latency_ms: float = 0.0
    #: Seed of the generated subscribers. Equal seeds give equal subscribers.
    seed: int = 1
    #: API keys, each with an account of its own.
    keys: tuple[str, ...] = ("key_test_sandbox",)
    #: File that keeps all writes for the next start; None to keep them in memory only.
    journal: Path | None = None


class FixedWindow:
    """Limit of requests in a window. A window begins with the first request after the end of the previous one."""

    def __init__(self, limit: int, window_seconds: float) -> None:
        self.limit = limit
        self.window_seconds = window_seconds
        self._ends_at = -math.inf
        self._used = 0

    def take(self, now: float) -> bool:
        """Count a request at ``now`` (seconds); return False if it exceeds the limit."""
        if now >= self._ends_at:
            self._ends_at = now + self.window_seconds
            self._used = 0
        if self._used >= self.limit:
            return False
        self._used += 1
        return True

    def headers(self, now: float) -> dict[str, str]:
        """Return the headers of a response; the reset is in whole seconds, rounded up.

        ``now`` is the time of the `take` of its request.
        """
        # Floating point: (now + window) - now may exceed the window, and would round up to one second more.
        left = min(self._ends_at - now, self.window_seconds)
        return {
            "RateLimit-Limit": str(self.limit),
            "RateLimit-Remaining": str(self.limit - self._used),
            "RateLimit-Reset": str(max(0, math.ceil(left))),
        }


class SandboxAccount:
    """Account whose writes all pass `write`, so that the journal can record and replay them."""

    def __init__(
        self,
        name: str,
        data: AccountData,
        window: FixedWindow,
        record: Callable[[dict[str, Any]], None],
    ) -> None:
        self.name = name
        self.data = data
        self.window = window
        self._record = record

    def write(self, operation: str, arguments: dict[str, Any]) -> Shown:
        """Apply a write and record it in the journal. Raises `Refused`, in which case nothing is written."""
        shown = self.apply(operation, arguments)
        self._record({"account": self.name, "operation": operation, "arguments": arguments})
        return shown

    def apply(self, operation: str, arguments: dict[str, Any]) -> Shown:
        """Apply a write; return the created or changed resource, or an empty one after a deletion."""
        data = self.data
        match operation:
            case "create_property":
                return data.create_property(**arguments).shown()
            case "delete_property":
                data.delete_property(**arguments)
            case "update_subscriber":
                return data.update(data.subscribers, "subscriber", **arguments).shown()
            case "update_subscription":
                return data.update(data.subscriptions, "subscription", **arguments).shown()
            case "delete_subscriber":
                data.delete_subscriber(**arguments)
            case _:
                raise ValueError(f"unknown write operation {operation!r}")
        return {}


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
