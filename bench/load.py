"""Load on a server, and what it measures."""

import json
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Final

from bench.processes import cpu_seconds
from bench.servers import LOAD_CORE, PORT, Process

CONNECTIONS: Final = 64
_HERE: Final = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Measured:
    """One run: events a second, times of requests in milliseconds, and the server's processor time an event."""

    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_us: float = 0.0


def full(process: Process, seconds: int, form: str = "identify", events: int = 1, seed: int = 0) -> Measured:
    """Measure a server with as many requests as it answers: ``identify``, or ``batch`` or ``array`` of events."""
    connections = CONNECTIONS if events == 1 else 8
    before = cpu_seconds(process.pid)
    with wrk(f"http://127.0.0.1:{PORT}", seconds, connections, form, events, seed) as result:
        run = result()
    count = run.per_second * events * seconds
    cpu_us = (cpu_seconds(process.pid) - before) / count * 1_000_000
    return Measured(run.per_second * events, run.p50_ms, run.p99_ms, cpu_us)


def steady(process: Process, rate: int, seconds: int, seed: int) -> Measured:
    """Measure a server with calls at a fixed rate."""
    before = cpu_seconds(process.pid)
    command = ["taskset", "-c", LOAD_CORE, sys.executable, "-m", "bench.steady_load"]
    arguments = [str(each) for each in (PORT, rate, seconds, seed)]
    environment = {**os.environ, "PYTHONPATH": str(_HERE.parent)}
    text = subprocess.run([*command, *arguments], env=environment, check=True, capture_output=True).stdout
    cpu_us = (cpu_seconds(process.pid) - before) / (rate * seconds) * 1_000_000
    return Measured(**json.loads(text), cpu_us=cpu_us)


@contextmanager
def wrk(
    url: str, seconds: int, connections: int, form: str = "identify", events: int = 1, seed: int = 0
) -> Iterator[Callable[[], Measured]]:
    """Send requests with wrk, wait for its end, and return requests a second and their times."""
    command = ["taskset", "-c", LOAD_CORE, "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency"]
    environment = {**os.environ, "BENCH_FORM": form, "BENCH_EVENTS": str(events), "BENCH_SEED": str(seed)}
    command += ["-s", str(_HERE / "calls.lua"), url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        yield lambda: _measured(process.communicate()[0])


def _measured(text: str) -> Measured:
    """Parse the output of wrk."""
    if "Non-2xx" in text:
        sys.exit(f"not every call was accepted:\n{text}")
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    assert rate is not None
    return Measured(float(rate[1]), _percentile(text, 50), _percentile(text, 99))


def _percentile(text: str, percent: int) -> float:
    found = re.search(rf"{percent}%\s+([\d.]+)(us|ms|s)", text)
    assert found is not None
    return float(found[1]) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[found[2]]


def median(runs: Sequence[Measured]) -> Measured:
    """Return the medians of runs."""
    return Measured(*(statistics.median(values) for values in zip(*map(astuple, runs), strict=True)))


def ratio(runs: Sequence[Measured], others: Sequence[Measured], *, cpu: bool = False) -> str:
    """Return how many times as much as others, of runs that followed each other: the median and the range."""
    pairs = zip(runs, others, strict=True)
    each = [one.cpu_us / other.cpu_us if cpu else one.per_second / other.per_second for one, other in pairs]
    return f"{statistics.median(each):.2f} ({min(each):.2f} to {max(each):.2f})"
