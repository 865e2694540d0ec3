"""The project's own commands, in processes of their own, on real ports."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

#: A command has this long to start or stop, in seconds: the machine may have other things to do.
PATIENCE_SECONDS = 60.0


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def command(*arguments: str, module: str = "prosperstack_destination") -> list[str]:
    """The command line of this project, or of another module."""
    return [sys.executable, "-m", module, *arguments]


def environment(**settings: str) -> dict[str, str]:
    """An environment with these settings and no others; the code is that of the tests."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in ("PATH", "PYTHONPATH", "HOME", "LANG") or name.startswith("COVERAGE_")
    }
    return {**kept, "COLUMNS": "160", **settings}


@contextmanager
def started(
    arguments: list[str],
    url: str,
    cwd: Path,
    output: Path,
    *,
    module: str = "prosperstack_destination",
    **settings: str,
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a command until the end of the block, from when it answers at a URL."""
    with output.open("ab") as log:
        process = subprocess.Popen(  # noqa: S603 -- our own command
            command(*arguments, module=module), cwd=cwd, env=environment(**settings), stdout=log, stderr=log
        )
    try:
        _await(process, url, output)
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(PATIENCE_SECONDS)


def _await(process: "subprocess.Popen[bytes]", url: str, output: Path) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, output.read_text()
        try:
            if httpx.get(url, trust_env=False).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.02)
    raise AssertionError(f"nothing answers at {url}: {output.read_text()}")
