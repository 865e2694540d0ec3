"""Measurement for sizing a machine: the load generator on a service with a sandbox, in processes of their own.

For each number of people and rate it prints what `load` measured, the service's memory and processor time, and the
size of the database for each profile.
"""

import argparse
import json
import os
import platform
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.processes import cpu_seconds, resident_mb
from rich.console import Console
from rich.table import Table

from support.processes import command, environment, free_port, started


@dataclass(frozen=True, slots=True)
class Sizing:
    """Measurements of one load."""

    people: int
    rate: float
    facts: dict[str, Any]
    memory_mb: float
    #: Processor time of the service for each second of the load.
    cores: float
    profiles: int
    database_mb: float


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, nargs="+", default=[1_000, 20_000, 100_000])
    parser.add_argument("--rate", type=float, nargs="+", default=[100, 500])
    parser.add_argument("--seconds", type=float, default=60)
    wanted = parser.parse_args()
    found = [measure(people, rate, wanted.seconds) for people in wanted.people for rate in wanted.rate]
    columns = "People, Rate, Accepted/s, p50 ms, p99 ms, Memory MB, Cores, Profiles, Database MB"
    table = Table(*columns.split(", "), box=None)
    for each in found:
        accepted = each.facts["statuses"].get("202", 0) / each.facts["calls"] * each.facts["per_second"]
        load = (
            f"{each.people:,}",
            f"{each.rate:g}",
            f"{accepted:,.0f}",
            each.facts["p50_ms"],
            each.facts["p99_ms"],
        )
        size = (f"{each.memory_mb:.0f}", f"{each.cores:.2f}", f"{each.profiles:,}", f"{each.database_mb:.1f}")
        table.add_row(*map(str, (*load, *size)))
    console = Console()
    console.print(f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, SQLite")
    console.print(table)


def measure(people: int, rate: float, seconds: float) -> Sizing:
    """Run one load on a new service."""
    with tempfile.TemporaryDirectory() as name, service(Path(name), people) as (process, url):
        before = cpu_seconds(process)
        arguments = ["load", "--to", f"{url}/identify", "--people", str(people), "--rate", f"{rate}", "--json"]
        done = subprocess.run(
            command(*arguments, "--seconds", f"{seconds}"),
            env=environment(),
            capture_output=True,
            text=True,
            check=True,
        )
        cores = (cpu_seconds(process) - before) / seconds
        memory = resident_mb(process)
        size = sum(each.stat().st_size for each in (Path(name) / "data").glob("destination.db*"))
        facts = json.loads(done.stdout)
        return Sizing(people, rate, facts, memory, cores, profiles(Path(name)), size / 1024**2)


def profiles(folder: Path) -> int:
    """Return the number of profiles in the database."""
    with closing(sqlite3.connect(folder / "data/destination.db")) as connection:
        count: int = connection.execute("SELECT count(*) FROM profiles").fetchone()[0]
        return count


@contextmanager
def service(folder: Path, people: int) -> Iterator[tuple[int, str]]:
    """Run a sandbox and a service on it; yield the service's process ID and URL."""
    port, api = free_port(), free_port()
    sandbox = ["sandbox", "--port", str(api), "--subscribers", str(people)]
    settings = {"PROSPERSTACK_API_KEY": "key_test_sandbox", "PROSPERSTACK_BASE_URL": f"http://127.0.0.1:{api}/v1"}
    url = f"http://127.0.0.1:{port}"
    with (
        started(sandbox, f"http://127.0.0.1:{api}/", folder, folder / "sandbox.log"),
        started(
            ["serve", "--port", str(port)], f"{url}/readyz", folder, folder / "serve.log", **settings
        ) as process,
    ):
        yield process.pid, url


if __name__ == "__main__":
    main()
