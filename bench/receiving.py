"""Benchmark of ingest, compared with a route that stores nothing and services that store each call by itself.

Needs wrk and two cores. The servers run one at a time on one core, the load on the other. The figures are medians
of interleaved runs; a ratio is the median (and the range) of those of runs that followed each other. Ratios hold,
absolute figures do not: a machine's disk and neighbours change them by half. Processor time is the server's.
"""

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final

import httpx
from bench import stored_profiles
from bench.load import Measured, full, median, ratio, steady
from bench.payload import events
from bench.servers import KEY, PORT, Process, baseline, empty_service, postgresql, service_on_postgresql
from rich.console import Console
from rich.table import Table

BARE: Final = "bare FastAPI route, stores nothing"
SERVICE: Final = "this service, SQLite"
RATES: Final = (1_500, 3_000)
#: Events of a batch and of a small array; events of a large array.
SMALL, LARGE = 100, 4_000

Runs = dict[str, list[Measured]]


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=4, help="of each run")
    parser.add_argument("--runs", type=int, default=4, help="of which the median counts")
    parser.add_argument(
        "--profiles", type=int, default=1_000_000, help="stored for the last measurement; 0: skip it"
    )
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("wrk is missing. Install it: `apt-get install wrk`, or `brew install wrk`.")
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
        measured: Runs = {}
        for number in range(1, self._runs + 1):
            for name, server in self._servers().items():
                self._console.print(f"run {number} of {self._runs}: {name}", style="dim")
                with server() as process:
                    full(process, 1, seed=9_000_000)  # the first calls are slower
                    measured.setdefault(name, []).append(full(process, self._seconds))
                    if name in (BARE, SERVICE):
                        self._steady(name, process, measured)
            self._batches(measured)
        if profiles:
            measured |= stored_profiles.measure(self._folder, profiles, self._runs, self._seconds, self._console)
        self._console.print(_table(measured))
        self._console.print(
            "Ratios are to the bare route in the same run; of stored profiles, to an empty database."
        )

    def _servers(self) -> dict[str, Callable[[], AbstractContextManager[Process]]]:
        folder = self._folder / "service"
        return {
            "do-nothing ASGI application": lambda: baseline("nothing"),
            BARE: lambda: baseline("validating"),
            SERVICE: lambda: empty_service(folder),
            "this service, PostgreSQL": lambda: service_on_postgresql(folder),
            "this service, SQLite with synchronous=NORMAL": lambda: empty_service(folder, "bench.unsafe"),
            "FastAPI and an INSERT by asyncpg": _inserting_into_postgresql,
            "FastAPI and SQLite (FULL) in a thread": self._inserting_into_sqlite,
        }

    def _inserting_into_sqlite(self) -> AbstractContextManager[Process]:
        path = self._folder / "calls.db"
        for each in self._folder.glob("calls.db*"):
            each.unlink()
        return baseline("sqlite", SQLITE=str(path))

    def _steady(self, name: str, process: Process, measured: Runs) -> None:
        for place, rate in enumerate(RATES, 1):
            run = steady(process, rate, self._seconds, seed=1_000_000 * place)
            measured.setdefault(f"{name}, at {rate:,} calls a second", []).append(run)

    def _batches(self, measured: Runs) -> None:
        with empty_service(self._folder / "service") as process:
            for form, path in (("batch", "/v1/batch"), ("array", "arrays")):
                seed = 1_000_000 if form == "array" else 0
                full(process, 1, form, SMALL, seed=9_000_000)
                run = full(process, self._seconds, form, SMALL, seed=seed)
                measured.setdefault(f"{path} of {SMALL}, events", []).append(run)
            times = [_array_ms(2_000_000 + LARGE * number) for number in range(5)]
        run = Measured(LARGE / statistics.median(times) * 1000, statistics.median(times), max(times))
        measured.setdefault(f"an array of {LARGE:,} alone, events", []).append(run)


@contextmanager
def _inserting_into_postgresql() -> Iterator[Process]:
    with postgresql() as url, baseline("postgresql", POSTGRES=url.replace("+asyncpg", "")) as process:
        yield process


def _array_ms(seed: int) -> float:
    """Return the time of a large array, in milliseconds."""
    body = f"[{','.join(events(LARGE, seed))}]"
    begun = time.perf_counter()
    url = f"http://127.0.0.1:{PORT}/identify"
    answer = httpx.post(url, content=body, auth=(KEY, ""), timeout=30, trust_env=False)
    assert answer.status_code == 202, answer.text
    return (time.perf_counter() - begun) * 1000


def _table(measured: Runs) -> Table:
    table = Table("What", "a second", "p50 ms", "p99 ms", "CPU µs", "ratio", "CPU", box=None, header_style="bold")
    for name, runs in measured.items():
        each = median(runs)
        others = measured[_compared_with(name)]
        table.add_row(
            name,
            f"{each.per_second:,.0f}",
            f"{each.p50_ms:.1f}",
            f"{each.p99_ms:.1f}",
            f"{each.cpu_us:.0f}" if each.cpu_us else "",
            ratio(runs, others) if ", at " not in name else "",
            ratio(runs, others, cpu=True) if each.cpu_us else "",
        )
    return table


def _compared_with(name: str) -> str:
    """Return the row that another row's ratios refer to."""
    if name.startswith(stored_profiles.STORED):
        return stored_profiles.EMPTY
    _, at, rate = name.partition(", at ")
    return f"{BARE}{at}{rate}"


if __name__ == "__main__":
    main()
