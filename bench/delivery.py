"""Benchmark of delivery: updates a second, their processor time, and the used share of many accounts' budgets.

The service delivers a stored backlog to `bench.stand_in`, a simulated ProsperStack in a process of its own.
Processor time is the service's alone, and counts everything from its start-up on. It tells more than the rate where
the machine has other work: the service, the simulated ProsperStack and PostgreSQL share the cores.
"""

import argparse
import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
from bench.processes import cpu_seconds, cpu_seconds_with_children
from bench.profile_rows import profile_row, store_profiles
from bench.projecting import CATALOG, SECRET
from rich.console import Console
from rich.table import Table
from sqlalchemy import Connection, insert

from prosperstack_destination.account_mapping import dump_catalog
from prosperstack_destination.auth.credentials import open_account
from prosperstack_destination.auth.vault import Vault
from prosperstack_destination.clock import DAY, HOUR, system_clock
from prosperstack_destination.store import accounts
from prosperstack_destination.store.database import Database
from prosperstack_destination.store.tables import directories
from support.postgres import Server
from support.processes import free_port

BATCH: Final = 5_000
#: Requests of an account in a minute: no limit in effect, a large account's, and ProsperStack's documented one.
UNLIMITED, LARGE, USUAL = 1_000_000, 10_000, 100
#: Time after which a service that is not ready, or makes no progress, has failed, in seconds.
PATIENCE: Final = 120.0


@dataclass(frozen=True, slots=True)
class Scenario:
    """Backlog of one run, and the conditions of its delivery."""

    engine: str
    answer_ms: int
    limit: int = UNLIMITED
    accounts: int = 1
    processes: int = 1

    @property
    def name(self) -> str:
        """Return the label of its row."""
        limit = "no limit" if self.limit == UNLIMITED else f"{self.limit:,} a minute"
        if self.accounts == 1:
            return f"{self.engine}, {limit}"
        return f"{self.engine}, {self.accounts:,} accounts, {limit} each, {self.processes} processes"


@dataclass(frozen=True, slots=True)
class Measured:
    """Measurements of one run."""

    seconds: float
    updates: int
    requests: int
    refused: int
    #: Processor time of the service's processes, and of the database server, in seconds.
    cpu: float
    server_cpu: float


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--updates", type=int, default=4_000, help="of each run with one account")
    parser.add_argument("--accounts", type=int, default=1_000, help="of the run with many; 0: skip it")
    parser.add_argument("--seconds", type=float, default=60, help="for which the many accounts are measured")
    parser.add_argument("--only", choices=["sqlite", "postgresql"], help="one engine alone")
    options = parser.parse_args()
    table = Table(
        *("delivery", "answer ms", "updates/s", "share of the budget", "CPU µs/update", "server's CPU µs"),
        *("cores", "refused"),
        box=None,
        header_style="bold",
    )
    engines = [each for each in ("sqlite", "postgresql") if options.only in (None, each)]
    scenarios = [
        *(Scenario(engine, answer_ms) for engine in engines for answer_ms in (0, 200)),
        *(Scenario(engine, 200, LARGE) for engine in engines),
    ]
    if options.accounts and "postgresql" in engines:
        scenarios.append(Scenario("postgresql", 200, USUAL, options.accounts, processes=2))
    console = Console(width=140, highlight=False)
    for scenario in scenarios:
        console.print(f"measuring: {scenario.name}, {scenario.answer_ms} ms", style="dim")
        updates = options.updates if scenario.accounts == 1 else 0
        table.add_row(*_row(scenario, measure(scenario, updates, options.seconds)))
    console.print(table)
    console.print("Budgets are used without a reserve. cores: of the service's processes, on average.")


def _row(scenario: Scenario, measured: Measured) -> list[str]:
    rate = measured.updates / measured.seconds
    budget = scenario.limit * scenario.accounts / 60
    return [
        scenario.name,
        str(scenario.answer_ms),
        f"{rate:,.0f}",
        "" if scenario.limit == UNLIMITED else f"{measured.requests / measured.seconds / budget:.1%}",
        f"{measured.cpu / max(measured.updates, 1) * 1e6:,.0f}",
        f"{measured.server_cpu / max(measured.updates, 1) * 1e6:,.0f}" if measured.server_cpu else "",
        f"{measured.cpu / measured.seconds:.2f}",
        str(measured.refused),
    ]


def measure(scenario: Scenario, updates: int, seconds: float) -> Measured:
    """Deliver a backlog of ``updates``, or, with 0, deliver for ``seconds``."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url, server_pid = stack.enter_context(_database(scenario.engine, folder))
        each = updates or int(scenario.limit * (seconds / 60 + 1))
        asyncio.run(_fill(url, scenario.accounts, each))
        prosperstack = stack.enter_context(_stand_in(scenario))
        pids = [stack.enter_context(_service(folder, url, prosperstack)) for _ in range(scenario.processes)]
        _await_updates(prosperstack, 1)
        if not updates:
            _await_updates(prosperstack, scenario.accounts)
            time.sleep(min(10.0, seconds))  # what starting takes is not what delivering takes
        begun, cpu, server_cpu = time.monotonic(), sum(map(cpu_seconds, pids)), _server_cpu(server_pid)
        before = _counts(prosperstack)
        if updates:
            _await_updates(prosperstack, updates)
        else:
            time.sleep(seconds)
        after = _counts(prosperstack)
        return Measured(
            time.monotonic() - begun,
            after.get("updates", 0) - before.get("updates", 0),
            after.get("requests", 0) - before.get("requests", 0),
            after.get("refused", 0) - before.get("refused", 0),
            sum(map(cpu_seconds, pids)) - cpu,
            _server_cpu(server_pid) - server_cpu,
        )


@contextmanager
def _database(engine: str, folder: Path) -> Iterator[tuple[str, int | None]]:
    """Return the URL of an empty database, and the process ID of its server."""
    if engine == "sqlite":
        yield f"sqlite:///{folder / 'destination.db'}", None
        return
    server = Server.create()
    try:
        yield server.url, server.pid
    finally:
        server.remove()


@contextmanager
def _stand_in(scenario: Scenario) -> Iterator[str]:
    """Run a simulated ProsperStack; return its address."""
    port = free_port()
    settings = {"ANSWER_MS": str(scenario.answer_ms), "LIMIT": str(scenario.limit)}
    app = [sys.executable, "-m", "uvicorn", "bench.stand_in:app", "--port", str(port), "--no-access-log"]
    with _process([*app, "--log-level", "error"], settings, Path(__file__).parent.parent):
        _await_answer(f"http://127.0.0.1:{port}/counts")
        yield f"http://127.0.0.1:{port}"


@contextmanager
def _service(folder: Path, url: str, prosperstack: str) -> Iterator[int]:
    """Run the service; return its process ID."""
    port = free_port()
    settings = {
        "DATA_DIR": str(folder),
        "DATABASE_URL": url,
        "SECRET_KEY": SECRET,
        "PROSPERSTACK_BASE_URL": f"{prosperstack}/v1",
        "RATE_LIMIT_RESERVE": "0",
        "LOG_FORMAT": "json",
    }
    command = [sys.executable, "-m", "prosperstack_destination", "serve", "--port", str(port)]
    with _process(command, settings, folder) as pid:
        _await_answer(f"http://127.0.0.1:{port}/healthz")
        yield pid


@contextmanager
def _process(command: list[str], settings: Mapping[str, str], cwd: Path) -> Iterator[int]:
    environment = {**os.environ, **settings}
    process = subprocess.Popen(command, env=environment, cwd=cwd, stderr=subprocess.DEVNULL)
    try:
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)


def _await_answer(url: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            if httpx.get(url, trust_env=False).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    sys.exit(f"nothing answers at {url}")


def _counts(prosperstack: str) -> dict[str, int]:
    counts: dict[str, int] = httpx.get(f"{prosperstack}/counts", trust_env=False, timeout=30).json()
    return counts


def _await_updates(prosperstack: str, updates: int) -> None:
    """Wait until there were so many updates. Raises where there are none any more."""
    last, seen_at = -1, time.monotonic()
    while (now := _counts(prosperstack).get("updates", 0)) < updates:
        if now > last:
            last, seen_at = now, time.monotonic()
        elif time.monotonic() - seen_at > PATIENCE:
            sys.exit(f"delivery stopped after {now} of {updates} updates")
        time.sleep(0.02)


def _server_cpu(pid: int | None) -> float:
    if pid is None:
        return 0.0
    return cpu_seconds_with_children(pid)


async def _fill(url: str, count: int, each: int) -> None:
    """Store so many accounts, each with so many profiles that differ from their subscribers."""
    database = Database(url)
    await database.open()
    ids = await database.write(_open_accounts, count)
    for first in range(0, count * each, BATCH):
        numbers = range(first, min(first + BATCH, count * each))
        now = system_clock()
        times = {"changed_at": now - HOUR // 2, "observed_at": now - HOUR}
        rows = [profile_row(ids[number // each], number, pending=True, **times) for number in numbers]
        await database.write(store_profiles, rows)
    await database.close()


def _open_accounts(connection: Connection, count: int) -> list[str]:
    now, vault = system_clock(), Vault(SECRET)
    ids = []
    for number in range(count):
        account = open_account(connection, f"key_test_{number:08}", vault, "bench", now)
        accounts.set_catalog(connection, account.id, dump_catalog(CATALOG), now)
        listed = {"as_of": now - HOUR, "watermark": now - HOUR, "size": 1_000, "quiet": 10, "swept_at": now - HOUR}
        due = {"refresh_at": now + HOUR, "sweep_at": now + DAY}
        connection.execute(insert(directories).values(account_id=account.id, **listed, **due))
        ids.append(account.id)
    return ids


if __name__ == "__main__":
    main()
