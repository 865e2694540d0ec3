"""Real processes that are killed and frozen, a load that goes on meanwhile, and what of it was accepted."""

import json
import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from support.processes import PATIENCE_SECONDS, command, environment, free_port, started

KEY = "key_test_sandbox"
SEGMENT_KEY = "segment-1"
#: What has to have happened by then has not happened, in seconds.
SETTLE_SECONDS = 60.0
#: Event times of the load: long past, so that no clock of this machine counts.
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Sandbox:
    """ProsperStack, as a process that nobody kills, with a journal of every update that it took."""

    url: str
    journal: Path

    def values(self) -> dict[str, dict[str, Any]]:
        """Every subscriber's properties, by email."""
        answer = httpx.get(f"{self.url}/subscribers?limit=100", auth=(KEY, ""), trust_env=False).json()
        return {
            each["email"]: {one["property"]["key"]: one["value"] for one in each["properties"]}
            for each in answer["data"]
        }

    def updates(self) -> list[dict[str, Any]]:
        """The updates that it took, in their order."""
        entries = [json.loads(line) for line in self.journal.read_text().splitlines()[1:]]
        return [each["arguments"] for each in entries if each["operation"] == "update_subscriber"]

    def repeated(self) -> int:
        """How many updates said what the subscriber's one before had said."""
        last: dict[str, Any] = {}
        count = 0
        for each in self.updates():
            whose = next(value for name, value in each.items() if name != "properties" and isinstance(value, str))
            count += last.get(whose) == each["properties"]
            last[whose] = each["properties"]
        return count


@contextmanager
def sandbox(folder: Path, subscribers: int = 20) -> Iterator[Sandbox]:
    """Run a sandbox whose rate limit is out of the way."""
    port, journal = free_port(), folder / "journal.jsonl"
    arguments = ["sandbox", "--port", str(port), "--subscribers", str(subscribers), "--rate-limit", "1000000"]
    url = f"http://127.0.0.1:{port}"
    with started([*arguments, "--journal", str(journal)], f"{url}/", folder, folder / "sandbox.log"):
        yield Sandbox(f"{url}/v1", journal)


@dataclass
class Process:
    """One replica."""

    arguments: list[str]
    port: int
    folder: Path
    settings: dict[str, str]
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it; see `await_ready`."""
        with (self.folder / f"serve-{self.port}.log").open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603 -- our own command
                command("serve", "--port", str(self.port), *self.arguments),
                cwd=self.folder, env=environment(**self.settings), stdout=log, stderr=log,
            )  # fmt: skip

    def await_ready(self, path: str = "/readyz", seconds: float = SETTLE_SECONDS) -> None:
        """Wait until it answers that all is well."""
        deadline = time.monotonic() + seconds
        while not self.answers(path):
            assert time.monotonic() < deadline, self.log[-3000:]
            time.sleep(0.05)

    def answers(self, path: str) -> bool:
        """True if it answers with a success."""
        try:
            return httpx.get(self.url + path, trust_env=False, timeout=5).is_success
        except httpx.TransportError:
            return False

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """kill -9"""
        self.send(signal.SIGKILL)
        assert self.process is not None
        self.process.wait(PATIENCE_SECONDS)

    def stop(self) -> None:
        """Stop it in peace, whatever state it is in."""
        if self.process is not None and self.process.poll() is None:
            self.send(signal.SIGCONT)
            self.send(signal.SIGTERM)
            self.process.wait(PATIENCE_SECONDS)

    @property
    def log(self) -> str:
        """What it wrote."""
        return (self.folder / f"serve-{self.port}.log").read_text()


@contextmanager
def replicas(folder: Path, api: Sandbox, *roles: str, **settings: str) -> Iterator[list[Process]]:
    """Run replicas of these roles on one database."""
    common = {
        "SECRET_KEY": "a secret that is long enough",
        "PROSPERSTACK_API_KEY": KEY,
        "SEGMENT_KEYS": SEGMENT_KEY,
        "PROSPERSTACK_BASE_URL": api.url,
        "LOG_FORMAT": "json",
        **settings,
    }
    made = [Process(["--role", role], free_port(), folder, common) for role in roles]
    try:
        for each in made:
            each.start()
        for each in made:
            each.await_ready()
        yield made
    finally:
        for each in made:
            each.stop()


@dataclass
class Load:
    """Calls about everybody, all the time, each newer than the last, to any of some receivers."""

    urls: list[str]
    emails: list[str]
    random: random.Random
    #: The number in the newest call about somebody that was accepted, and in the newest that was sent.
    accepted: dict[str, int] = field(default_factory=dict)
    sent: dict[str, int] = field(default_factory=dict)
    #: How often which status was answered; 0: no answer.
    statuses: dict[int, int] = field(default_factory=dict)
    count: int = 0
    pause_seconds: float = 0.005
    #: So long a call waits for its answer: all others wait behind it.
    patience_seconds: float = 6.0
    _stopping: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def running(self) -> "Iterator[Load]":
        """Send until the end of the block."""
        self._stopping.clear()
        thread = threading.Thread(target=self._run)
        thread.start()
        try:
            yield self
        finally:
            self._stopping.set()
            thread.join(PATIENCE_SECONDS)

    def await_accepted(self, more: int, seconds: float = SETTLE_SECONDS) -> None:
        """Wait until so many more calls were accepted."""
        target = self.statuses.get(202, 0) + more
        until(lambda: self.statuses.get(202, 0) >= target, f"{more} more accepted: {self.statuses}", seconds)

    def _run(self) -> None:
        with httpx.Client(auth=(SEGMENT_KEY, ""), trust_env=False, timeout=self.patience_seconds) as client:
            while not self._stopping.wait(self.pause_seconds):
                self._send(client)

    def _send(self, client: httpx.Client) -> None:
        self.count += 1
        email = self.random.choice(self.emails)
        self.sent[email] = self.count
        call = {
            "timestamp": (BEGIN + timedelta(seconds=self.count)).isoformat(),
            "traits": {"email": email, "number_of_contacts": self.count, "preferred_name": f"n{self.count}"},
        }
        try:
            status = client.post(f"{self.random.choice(self.urls)}/identify", json=call).status_code
        except httpx.TransportError:
            status = 0
        self.statuses[status] = self.statuses.get(status, 0) + 1
        if status == 202:
            self.accepted[email] = self.count

    def wrong(self, values: dict[str, dict[str, Any]]) -> list[str]:
        """Who does not have what was accepted last, or what was sent since: a call without an answer may count."""
        return [
            f"{email}: {values[email]}, accepted {number}, sent {self.sent[email]}"
            for email, number in self.accepted.items()
            if not (
                number <= (has := int(values[email].get("number_of_contacts", -1))) <= self.sent[email]
                and values[email].get("preferred_name") == f"n{has}"
            )
        ]

    def settled(self, api: Sandbox) -> None:
        """Wait until everybody has what was accepted."""
        until(lambda: not self.wrong(api.values()), lambda: f"{self.wrong(api.values())}")


def until(condition: Callable[[], bool], said: object, seconds: float = SETTLE_SECONDS) -> None:
    """Wait for something that happens in its own time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, said() if callable(said) else said
        time.sleep(0.05)


def how_often(short: int, full: int) -> int:
    """How often something is done to a process: more in ``make chaos`` than in every run of the tests."""
    return full if os.environ.get("CHAOS") == "full" else short
