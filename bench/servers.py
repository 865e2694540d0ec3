"""The servers that benchmarks measure, each on one core of its own."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx

from support.postgres import Server as PostgresServer
from support.processes import free_port

SERVICE: Final = "prosperstack_destination"
KEY: Final = "segment-key"
SERVER_CORE, LOAD_CORE = "0", "1"
PORT: Final = free_port()
_ROOT: Final = Path(__file__).parents[1]

Process = subprocess.Popen[bytes]


@contextmanager
def service(port: int, module: str = SERVICE, **settings: str) -> Iterator[Process]:
    """The service itself. ProsperStack is away: what is measured is the receiving, not what else it could do."""
    given = {
        "PROSPERSTACK_API_KEY": "key_test_bench",
        "SEGMENT_KEYS": KEY,
        "PROSPERSTACK_BASE_URL": "http://127.0.0.1:9/v1",
        "LOG_LEVEL": "error",
        "LOG_FORMAT": "json",
        **settings,
    }
    with serving([sys.executable, "-m", module, "serve", "--port", str(port)], given, port, "/healthz") as process:
        yield process


@contextmanager
def empty_service(folder: Path, module: str = SERVICE, **settings: str) -> Iterator[Process]:
    """The service on a new SQLite database in a folder, which is deleted first."""
    shutil.rmtree(folder, ignore_errors=True)
    with service(PORT, module, DATA_DIR=str(folder), **settings) as process:
        yield process


@contextmanager
def service_on_postgresql(folder: Path) -> Iterator[Process]:
    """The service on a new PostgreSQL, which shares the other core with the load."""
    with postgresql() as url, empty_service(folder, DATABASE_URL=url, SECRET_KEY="x" * 32) as process:
        yield process


@contextmanager
def postgresql() -> Iterator[str]:
    """A new PostgreSQL on the core of the load; its URL."""
    server = PostgresServer.create()
    try:
        os.sched_setaffinity(server.pid, {int(LOAD_CORE)})
        yield server.url
    finally:
        server.remove()


@contextmanager
def baseline(name: str, **settings: str) -> Iterator[Process]:
    """An application of `bench.baselines` on uvicorn."""
    command = [sys.executable, "-m", "uvicorn", f"bench.baselines:{name}", "--port", str(PORT)]
    with serving([*command, "--log-level", "error", "--no-access-log"], settings, PORT, "/") as process:
        yield process


@contextmanager
def serving(
    command: list[str], settings: dict[str, str], port: int, path: str, core: str = SERVER_CORE
) -> Iterator[Process]:
    """Run a server on a core until the end of the block."""
    environment = {**os.environ, **settings, "PYTHONPATH": str(_ROOT)}
    process = subprocess.Popen(["taskset", "-c", core, *command], env=environment)
    try:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if process.poll() is not None:
                sys.exit(f"{' '.join(command)} did not start.")
            try:
                httpx.get(f"http://127.0.0.1:{port}{path}", trust_env=False)
                break
            except httpx.TransportError:
                time.sleep(0.05)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)
