"""Benchmark of start time, memory and processor time with many profiles and mostly idle accounts.

It is started by its own command, on each engine; ProsperStack is a stand-in that answers that nothing changed. The
same is measured with one account and no profiles: the difference is what accounts cost.
"""

import argparse
import asyncio
import http.client
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar, Final

from bench.processes import cpu_seconds, cpu_seconds_with_children, resident_mb
from bench.profile_rows import profile_row, store_profiles
from bench.projecting import CATALOG, SECRET
from rich.console import Console
from rich.table import Table
from sqlalchemy import Connection, insert

from prosperstack_destination.account_mapping import dump_catalog
from prosperstack_destination.auth.credentials import open_account
from prosperstack_destination.auth.vault import Vault
from prosperstack_destination.clock import DAY, HOUR, MINUTE, system_clock
from prosperstack_destination.store import accounts, json_codec, rollups
from prosperstack_destination.store.database import Database
from prosperstack_destination.store.tables import directories
from support.postgres import Server
from support.processes import free_port

BATCH: Final = 5_000
#: The part of the accounts that nobody called for a day.
IDLE: Final = 0.9
STARTS: Final = 3
#: A service that is not ready after this never will be, in seconds.
PATIENCE: Final = 120.0
#: What is promised: seconds to ready, and MB.
SOON, SMALL = 3.0, 300.0


@dataclass(frozen=True, slots=True)
class Measured:
    """Measurements of one service."""

    name: str
    #: From its start until it answered, each time.
    seconds: list[float]
    #: The processor time that this took, which tells more where other things run as well.
    start_cpu: list[float]
    #: Resident, when it was ready and at the end, in MB.
    first_mb: float
    last_mb: float
    #: Processor time from a while after it was ready on, in seconds: the service's, and the database server's.
    cpu: float
    server_cpu: float
    #: Requests to ProsperStack meanwhile.
    requests: int

    @property
    def is_good(self) -> bool:
        """Return whether the measurements are within their bounds."""
        return statistics.median(self.seconds) < SOON and max(self.first_mb, self.last_mb) < SMALL


class _StandIn(BaseHTTPRequestHandler):
    """A ProsperStack that has the properties that are known, and where nothing changed."""

    protocol_version = "HTTP/1.1"
    asked: ClassVar[Counter[str]] = Counter()
    properties = json_codec.dump(
        {
            "data": [
                {"id": each.key, "key": each.key, "name": each.name, "entity": "subscriber", "type": each.type}
                for each in CATALOG
            ],
            "next_cursor": None,
        }
    ).encode()
    nobody = b'{"data": [], "next_cursor": null}'

    def do_GET(self) -> None:
        what = self.path.partition("?")[0].rpartition("/")[2]
        self.asked[what] += 1
        body = self.properties if what == "properties" else self.nobody
        self.send_response(200)
        for name, value in (
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(body))),
            ("RateLimit-Limit", "100"),
            ("RateLimit-Remaining", "99"),
            ("RateLimit-Reset", "60"),
        ):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Log no requests."""


def main() -> None:
    """Measure, and print a table; fail where something is out of bounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profiles", type=int, default=1_000_000, help="how many are stored")
    parser.add_argument("--accounts", type=int, default=1_000, help="that they are in, by equal parts")
    parser.add_argument("--seconds", type=float, default=60, help="how long is looked at what it needs")
    parser.add_argument("--only", choices=["sqlite", "postgresql"], help="one engine alone")
    options = parser.parse_args()
    sizes = {"empty": (1, 0), "full": (options.accounts, options.profiles)}
    found: list[Measured] = []
    with _stand_in() as prosperstack:
        for engine in ("sqlite", "postgresql"):
            if options.only in (None, engine):
                for name, size in sizes.items():
                    with _database(engine) as (folder, url, server_cpu):
                        asyncio.run(_fill(url, *size))
                        title = f"{engine}, {name}"
                        found.append(_measure(title, folder, url, prosperstack, options.seconds, server_cpu))
    _show(found, options.accounts)
    raise SystemExit(0 if all(each.is_good for each in found) else 1)


def _show(found: list[Measured], count: int) -> None:
    table = Table(
        "", "s to ready", "CPU s to ready", "MB", "MB later", "CPU s", "server's CPU s", "requests", "within bounds"
    )
    for each in found:
        table.add_row(
            each.name,
            f"{statistics.median(each.seconds):.2f} ({min(each.seconds):.2f} to {max(each.seconds):.2f})",
            f"{statistics.median(each.start_cpu):.2f}",
            *(f"{number:.0f}" for number in (each.first_mb, each.last_mb)),
            *(f"{number:.2f}" for number in (each.cpu, each.server_cpu)),
            str(each.requests),
            "yes" if each.is_good else "NO",
        )
    console = Console(width=140, highlight=False)
    console.print(table)
    for empty, full in zip(found[::2], found[1::2], strict=True):
        more = full.cpu + full.server_cpu - empty.cpu - empty.server_cpu
        console.print(f"{full.name}: {more / count * 1000:.2f} ms of CPU an account in that time")


@contextmanager
def _stand_in() -> Iterator[str]:
    """Return ProsperStack's base URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _StandIn)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def _database(engine: str) -> Iterator[tuple[Path, str, Callable[[], float]]]:
    """A folder for the service, the URL of an empty database, and what tells its server's processor time."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if engine == "sqlite":
            yield folder, f"sqlite:///{folder / 'destination.db'}", lambda: 0.0
            return
        server = Server.create()
        try:
            yield folder, server.url, lambda: cpu_seconds_with_children(server.pid)
        finally:
            server.remove()


async def _fill(url: str, count: int, people: int) -> None:
    """So many accounts, of which most are idle, with so many profiles that have what they should have."""
    database = Database(url)
    await database.open()
    ids = await database.write(_open_accounts, count)
    each = people // count
    for first in range(0, people, BATCH):
        numbers = range(first, min(first + BATCH, each * count))
        at = system_clock() - DAY
        times = {"changed_at": at, "observed_at": at}
        rows = [profile_row(ids[number // each], number, pending=False, **times) for number in numbers]
        await database.write(store_profiles, rows)
    await database.close()


def _open_accounts(connection: Connection, count: int) -> list[str]:
    now, vault, chance = system_clock(), Vault(SECRET), random.Random(1)
    ids = []
    for number in range(count):
        account = open_account(connection, f"key_test_{number:08}", vault, "bench", now)
        idle = number < count * IDLE
        listed_at = now - int(chance.random() * (DAY if idle else 15 * MINUTE))
        accounts.set_catalog(connection, account.id, dump_catalog(CATALOG), listed_at)
        directory = {
            "as_of": now - HOUR,
            "watermark": now - HOUR,
            "size": 1_000,
            "quiet": 10,
            "swept_at": now - DAY,
            "refresh_at": now + int(chance.random() * HOUR),
            "sweep_at": now + int(chance.random() * DAY / 10),
        }
        connection.execute(insert(directories).values(account_id=account.id, **directory))
        if not idle:
            rollups.add(connection, {account.id: rollups.Rollup(accepted=10)}, now)
        ids.append(account.id)
    return ids


def _measure(
    name: str, folder: Path, url: str, prosperstack: str, seconds: float, server_cpu: Callable[[], float]
) -> Measured:
    taken, spent = [], []
    for turn in range(STARTS):
        begun = time.monotonic()
        with _service(folder, url, prosperstack) as (process, port):
            _await_ready(process, port)
            taken.append(time.monotonic() - begun)
            spent.append(cpu_seconds(process.pid))
            first = resident_mb(process.pid)
            if turn < STARTS - 1:
                continue
            time.sleep(min(5.0, seconds))  # what it does once, as it starts, is not what it needs
            before = cpu_seconds(process.pid), server_cpu(), _StandIn.asked.total()
            time.sleep(seconds)
            after = cpu_seconds(process.pid), server_cpu(), _StandIn.asked.total()
            last = resident_mb(process.pid)
    cpu, servers, requests = (late - early for early, late in zip(before, after, strict=True))
    return Measured(name, taken, spent, first, last, cpu, servers, int(requests))


@contextmanager
def _service(folder: Path, url: str, prosperstack: str) -> "Iterator[tuple[subprocess.Popen[bytes], int]]":
    settings = {
        "DATA_DIR": str(folder),
        "DATABASE_URL": url,
        "SECRET_KEY": SECRET,
        "PROSPERSTACK_BASE_URL": prosperstack,
        "LOG_FORMAT": "json",
        "LOG_LEVEL": "warning",
    }
    port = free_port()
    command = [sys.executable, "-m", "prosperstack_destination", "serve", "--port", str(port)]
    process = subprocess.Popen(command, env={**os.environ, **settings}, cwd=folder)
    try:
        yield process, port
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)


def _await_ready(process: "subprocess.Popen[bytes]", port: int) -> None:
    """Wait until it answers, and look often: hundredths of a second are of interest."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/healthz")
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.01)
        finally:
            connection.close()
    raise AssertionError("it is not ready")


if __name__ == "__main__":
    main()
