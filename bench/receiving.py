"""Benchmark of ingest, compared with a route that stores nothing and with a plain forwarder.

Needs wrk. The servers run one at a time on one core, the load on the other; every figure is the median of
interleaved runs, every ratio the median of those of runs that followed each other. Ratios hold, absolutes do not: a
machine's disk and neighbours change them by half.
"""

import argparse
import asyncio
import json
import os
import re
import shutil
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from pydantic import JsonValue
from rich.console import Console
from rich.table import Table

from prosperstack_destination.store.database import Database
from prosperstack_destination.store.merge_calls import ingest_calls
from prosperstack_destination.store.models import Identify
from support.postgres import Server as PostgresServer

Server = AbstractContextManager["subprocess.Popen[bytes]"]

HERE = Path(__file__).parent
SERVICE = "prosperstack_destination"
KEY = "segment-key"
CONNECTIONS = 64
SERVER_CORE, LOAD_CORE = "0", "1"
PORT, API_PORT = 8790, 8799
URL = f"http://127.0.0.1:{PORT}"


@dataclass(frozen=True, slots=True)
class Measured:
    """One run of wrk."""

    per_second: float
    p99_ms: float


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=6, help="of each run")
    parser.add_argument("--runs", type=int, default=3, help="of which the median counts")
    parser.add_argument(
        "--profiles", type=int, default=1_000_000, help="stored for the last measurement; 0: skip it"
    )
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("wrk is not installed: it is in Debian's packages.")
    with tempfile.TemporaryDirectory() as folder:
        Bench(Path(folder), options.seconds, options.runs).run(options.profiles)


class Bench:
    """The measurements, in a folder of their own."""

    def __init__(self, folder: Path, seconds: int, runs: int) -> None:
        self._folder = folder
        self._seconds = seconds
        self._runs = runs
        self._console = Console(highlight=False)

    def run(self, profiles: int) -> None:
        """Measure everything, and print it."""
        servers: dict[str, Callable[[], AbstractContextManager[object]]] = {
            "plain FastAPI route, validates only": lambda: self._baseline("validating"),
            "durable accepts": lambda: self._empty(),
            "forwarder, httpx over aiohttp": lambda: self._forwarder("aiohttp"),
            "durable accepts, PostgreSQL": lambda: self._on_postgresql(),
            "accepts with synchronous=NORMAL": lambda: self._empty(module="bench.unsafe"),
            "forwarder, httpx": lambda: self._forwarder("httpx"),
        }
        measured: dict[str, list[Measured]] = {name: [] for name in servers}
        for run in range(self._runs):
            for name, serve in servers.items():
                self._console.print(f"run {run + 1} of {self._runs}: {name}", style="dim")
                with serve():
                    measured[name].append(self._wrk("identify.lua"))
        table = Table("What", "a second", "p99 ms", "ratio", box=None, header_style="bold")
        durable = measured["durable accepts"]
        for name, runs in measured.items():
            each = median(runs)
            table.add_row(name, f"{each.per_second:,.0f}", f"{each.p99_ms:.0f}", _ratio(durable, runs))
        self._batches(table)
        if profiles:
            self._with_profiles(table, profiles)
        self._console.print(table)
        self._console.print(
            "ratio: durable accepts over this; of the last rows, this over durable accepts when empty."
        )

    def _batches(self, table: Table) -> None:
        with self._empty() as process:
            each = median([self._wrk("batch.lua", connections=8) for _ in range(self._runs)])
            table.add_row("/v1/batch, events", f"{each.per_second * 100:,.0f}", f"{each.p99_ms:.0f}", "")
            milliseconds = statistics.median(self._array() for _ in range(5))
            table.add_row("an array of 4,000 events", "", f"{milliseconds:.0f} (median)", "")
            table.add_row("resident memory after that", f"{_memory_mb(process):.0f} MB", "", "")

    def _with_profiles(self, table: Table, count: int) -> None:
        full = self._folder / "full"
        with self._service(full):
            pass  # it makes the tables, and its account
        self._console.print(f"storing {count:,} profiles", style="dim")
        asyncio.run(_store(full, count))
        runs: list[Measured] = []
        empty: list[Measured] = []
        for _ in range(self._runs):
            with self._empty():
                empty.append(self._wrk("identify.lua"))
            os.sync()  # what was written to make it ready is not to be waited for
            with self._service(full) as process:
                runs.append(self._wrk("identify.lua"))
                memory = _memory_mb(process)
            _forget_callers(full)
        each = median(runs)
        name = f"with {count:,} profiles"
        table.add_row(name, f"{each.per_second:,.0f}", f"{each.p99_ms:.0f}", _ratio(runs, empty))
        table.add_row("resident memory after that", f"{memory:.0f} MB", "", "")

    def _wrk(self, script: str, connections: int = CONNECTIONS) -> Measured:
        with loading(script, URL, self._seconds, connections) as measured:
            return measured()

    def _array(self) -> float:
        """Return the time of an array of 4,000 calls, in milliseconds."""
        now = time.time()
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))
        events = [
            {
                "userId": f"a-{n}",
                "timestamp": at,
                "traits": {"email": f"array.{n}@example.com", "logins": now, "plan": "x"},
            }
            for n in range(4_000)
        ]
        begun = time.perf_counter()
        answer = httpx.post(f"{URL}/identify", content=json.dumps(events), auth=(KEY, ""), timeout=30)
        assert answer.status_code == 202, answer.text
        return (time.perf_counter() - begun) * 1000

    @contextmanager
    def _on_postgresql(self) -> Iterator[None]:
        """PostgreSQL shares the other core with the load: only what this service takes is measured."""
        server = PostgresServer.create()
        try:
            os.sched_setaffinity(server.pid, {int(LOAD_CORE)})
            with self._service(self._folder / "empty", DATABASE_URL=server.url, SECRET_KEY="x" * 32):
                yield
        finally:
            server.remove()

    def _empty(self, module: str = SERVICE) -> Server:
        shutil.rmtree(self._folder / "empty", ignore_errors=True)
        return self._service(self._folder / "empty", module)

    def _service(self, folder: Path, module: str = SERVICE, **changed: str) -> Server:
        return service(PORT, module, DATA_DIR=str(folder), **changed)

    def _baseline(self, name: str) -> Server:
        return _serving(_uvicorn(f"bench.baselines:{name}", PORT), {}, PORT, "/openapi.json")

    @contextmanager
    def _forwarder(self, transport: str) -> Iterator[None]:
        api = f"http://127.0.0.1:{API_PORT}"
        settings = {"FORWARDER": transport, "API_URL": api}
        with (
            _serving(_uvicorn("bench.baselines:slow_api", API_PORT), {}, API_PORT, "/", core=LOAD_CORE),
            _serving(_uvicorn("bench.baselines:forwarding", PORT), settings, PORT, "/openapi.json"),
        ):
            yield


@contextmanager
def loading(
    script: str, url: str, seconds: int, connections: int, first_person: int = 0
) -> Iterator[Callable[[], Measured]]:
    """Have wrk send calls to a service; the function waits for its end, and says what it measured."""
    command = ["taskset", "-c", LOAD_CORE, "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency"]
    command += ["-s", str(HERE / script), url]
    environment = {**os.environ, "BENCH_SEED": str(first_person)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        yield lambda: _measured(process.communicate()[0])


def _measured(text: str) -> Measured:
    """Parse the output of wrk."""
    if "Non-2xx" in text:
        sys.exit(f"not every call was taken:\n{text}")
    percentile = re.search(r"99%\s+([\d.]+)(us|ms|s)", text)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    assert percentile is not None
    assert rate is not None
    unit = {"us": 0.001, "ms": 1.0, "s": 1000.0}[percentile[2]]
    return Measured(float(rate[1]), float(percentile[1]) * unit)


def _ratio(runs: list[Measured], others: list[Measured]) -> str:
    """How many times as fast as others, each run beside the one that it was measured with."""
    pairs = zip(runs, others, strict=True)
    return f"{statistics.median(one.per_second / other.per_second for one, other in pairs):.2f}"


def median(runs: list[Measured]) -> Measured:
    """Return the medians of runs."""
    return Measured(
        statistics.median(each.per_second for each in runs), statistics.median(each.p99_ms for each in runs)
    )


def service(port: int, module: str = SERVICE, **settings: str) -> Server:
    """The service itself. ProsperStack is away: what is measured is the receiving, not what else it could do."""
    given = {
        "PROSPERSTACK_API_KEY": "key_test_bench",
        "SEGMENT_KEYS": KEY,
        "PROSPERSTACK_BASE_URL": "http://127.0.0.1:9/v1",
        "LOG_LEVEL": "error",
        "LOG_FORMAT": "json",
        **settings,
    }
    command = [sys.executable, "-m", module, "serve", "--port", str(port)]
    return _serving(command, given, port, "/healthz")


def _uvicorn(app: str, port: int) -> list[str]:
    return [sys.executable, "-m", "uvicorn", app, "--port", str(port), "--log-level", "error", "--no-access-log"]


@contextmanager
def _serving(
    command: list[str], settings: dict[str, str], port: int, path: str, core: str = SERVER_CORE
) -> "Iterator[subprocess.Popen[bytes]]":
    """Run a server on a core until the end of the block."""
    environment = {**os.environ, **settings, "PYTHONPATH": str(HERE.parent)}
    process = subprocess.Popen(["taskset", "-c", core, *command], env=environment)
    try:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                httpx.get(f"http://127.0.0.1:{port}{path}", trust_env=False)
                break
            except httpx.TransportError:
                time.sleep(0.05)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


async def _store(folder: Path, count: int) -> None:
    """Fill a database with profiles of as many people."""
    database = Database(f"sqlite:///{folder / 'destination.db'}")
    await database.open()
    [account_id] = await database.read(
        lambda connection: connection.exec_driver_sql("SELECT id FROM accounts").one()
    )
    traits: dict[str, JsonValue] = {
        "plan": "premium",
        "logins": 5,
        "name": "Jane Doe",
        "Preferred name": "Jane",
        "title": "Vice President",
    }
    for start in range(0, count, 5_000):
        calls = [
            Identify(account_id, email, email, traits, 1, 1, user_id=f"user-{n}-stored")
            for n in range(start, min(start + 5_000, count))
            if (email := f"jane.doe.{n}@stored.example.com")
        ]
        await database.write(ingest_calls, calls, str)
    await database.close()


def _forget_callers(folder: Path) -> None:
    """Delete whom a run's calls were about: they are to be as new to the next run as to an empty database."""
    with closing(sqlite3.connect(folder / "destination.db")) as database, database:
        for table in ("profiles", "identities"):
            database.execute(f"DELETE FROM {table} WHERE email LIKE '%@example.com'")  # noqa: S608 -- names of our own


def _memory_mb(process: "subprocess.Popen[bytes]") -> float:
    status = Path(f"/proc/{process.pid}/status").read_text()
    match = re.search(r"VmRSS:\s+(\d+) kB", status)
    return float(match[1]) / 1024 if match is not None else 0.0


if __name__ == "__main__":
    main()
