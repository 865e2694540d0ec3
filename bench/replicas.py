"""Benchmark of replicas: ingest rate of one and of two on one PostgreSQL.

Needs wrk. A machine of two cores has none to spare for a second replica. So each of them gets the same share of
one core, whether it is alone or not: it runs for a few milliseconds, and stands still while it is another one's
turn. That is what slower processors of their own would be like, but for the locks that one may hold while it stands
still: those make two look a little worse than they are. PostgreSQL and the load have the other core.
"""

import argparse
import os
import shutil
import signal
import statistics
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Final

from bench.load import CONNECTIONS, Measured, median, wrk
from bench.servers import LOAD_CORE, service
from rich.console import Console
from rich.table import Table

from support.postgres import Server as PostgresServer
from support.processes import free_port

#: How long a turn of a replica takes, in seconds.
TURN: Final = 0.008
#: The core goes round in so many turns, of which a replica has one: so many replicas there can be.
TURNS: Final = 2
#: Distance between the people of two replicas.
PEOPLE: Final = 1_000_000


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=6, help="of each run")
    parser.add_argument("--runs", type=int, default=5, help="of which the median counts")
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("wrk is missing. Install it: `apt-get install wrk`, or `brew install wrk`.")
    console = Console(highlight=False)
    measured: dict[int, list[Measured]] = {replicas: [] for replicas in range(1, TURNS + 1)}
    for run in range(options.runs):
        for replicas, found in measured.items():
            console.print(f"run {run + 1} of {options.runs}: {replicas}", style="dim")
            found.append(_measure(replicas, options.seconds))
    table = Table("replicas", "calls a second", "p99 ms", "times one", box=None, header_style="bold")
    for replicas, runs in measured.items():
        each = median(runs)
        # Of runs that follow each other: a machine changes its speed from minute to minute.
        ratios = [many.per_second / one.per_second for one, many in zip(measured[1], runs, strict=True)]
        times = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        table.add_row(str(replicas), f"{each.per_second:,.0f}", f"{each.p99_ms:.0f}", times)
    console.print(table)
    console.print(f"Each replica has 1/{TURNS} of a core, also where it is the only one.")


def _measure(replicas: int, seconds: int) -> Measured:
    """Return the ingest rate of all replicas together."""
    server = PostgresServer.create()
    try:
        os.sched_setaffinity(server.pid, {int(LOAD_CORE)})
        with ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            settings = {"DATA_DIR": folder, "DATABASE_URL": server.url, "SECRET_KEY": "x" * 32}
            ports = [free_port() for _ in range(replicas)]
            processes = [stack.enter_context(service(port, **settings)) for port in ports]
            stack.enter_context(_in_turns([process.pid for process in processes]))
            loads = [
                stack.enter_context(
                    wrk(f"http://127.0.0.1:{port}", seconds, CONNECTIONS // replicas, seed=place * PEOPLE)
                )
                for place, port in enumerate(ports)
            ]
            results = [load() for load in loads]
        slowest = [max(times) for times in zip(*((each.p50_ms, each.p99_ms) for each in results), strict=True)]
        return Measured(sum(each.per_second for each in results), *slowest)
    finally:
        server.remove()


@contextmanager
def _in_turns(pids: Sequence[int]) -> Iterator[None]:
    """Let each process run in its own of `TURNS` turns, until the end of the block."""
    over = threading.Event()

    def take_turns() -> None:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        while not over.is_set():
            for turn in range(TURNS):
                if turn < len(pids):
                    os.kill(pids[turn], signal.SIGCONT)
                over.wait(TURN)
                if turn < len(pids):
                    os.kill(pids[turn], signal.SIGSTOP)
        for pid in pids:
            os.kill(pid, signal.SIGCONT)

    thread = threading.Thread(target=take_turns)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


if __name__ == "__main__":
    main()
