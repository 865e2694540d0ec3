"""The service under real servers, over real sockets."""

import json
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from support.processes import PATIENCE_SECONDS, command, environment, free_port, started

pytestmark = pytest.mark.whole

FACTORY = "prosperstack_destination.app:from_environment"
KEY = "segment-key"
SETTINGS = {
    "PROSPERSTACK_API_KEY": "key_test_sandbox",
    "SEGMENT_KEYS": KEY,
    "PROSPERSTACK_BASE_URL": "http://127.0.0.1:9/v1",  # nothing listens there
}


def identify(url: str) -> httpx.Response:
    call = {"traits": {"email": "ann@example.com", "plan": "pro"}}
    return httpx.post(f"{url}/identify", json=call, auth=(KEY, ""), trust_env=False)


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("uvicorn", ["--factory", FACTORY, "--port"]),
        ("hypercorn", [f"{FACTORY}()", "--bind"]),
    ],
)
def test_other_servers_run_the_service(tmp_path: Path, module: str, arguments: list[str]) -> None:
    """The documented factory runs under plain uvicorn and under hypercorn, from the start to a clean stop."""
    port = free_port()
    url, log = f"http://127.0.0.1:{port}", tmp_path / "server.log"
    address = str(port) if module == "uvicorn" else f"127.0.0.1:{port}"
    with started([*arguments, address], f"{url}/healthz", tmp_path, log, module=module, **SETTINGS):
        answer = identify(url)
        page = httpx.get(f"{url}/dashboard/login", trust_env=False)

    assert (answer.status_code, answer.json()) == (202, {"message": "Accepted."})
    assert len(answer.headers["x-request-id"]) == 16
    assert page.status_code == 200
    assert "Traceback" not in log.read_text()
    assert "stopping" in log.read_text()


@contextmanager
def silent_server() -> Iterator[tuple[int, threading.Event]]:
    """Accept connections and answer nothing: its port, and an event that is set once a client has connected."""
    connected = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        held: list[socket.socket] = []

        def accept() -> None:
            while True:
                try:
                    held.append(listening.accept()[0])
                except OSError:
                    return
                connected.set()

        threading.Thread(target=accept, daemon=True).start()
        yield listening.getsockname()[1], connected
        listening.shutdown(socket.SHUT_RDWR)
        for each in held:
            each.close()


def test_a_start_that_waits_for_its_database_can_be_stopped(tmp_path: Path) -> None:
    """SIGTERM while PostgreSQL does not answer ends the process within ten seconds, without a traceback."""
    with silent_server() as (silent, connected):
        url = f"postgresql://user:password@127.0.0.1:{silent}/x"
        settings = {**SETTINGS, "DATABASE_URL": url, "SECRET_KEY": "x" * 32, "LOG_FORMAT": "json"}
        process = subprocess.Popen(  # noqa: S603 -- our own command
            command("serve", "--port", str(free_port())),
            cwd=tmp_path,
            env=environment(**settings),
            stderr=subprocess.PIPE,
            text=True,
        )
        assert connected.wait(PATIENCE_SECONDS)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=10)

    assert process.returncode == 0, said
    assert "Traceback" not in said
    assert "stopped before it had started" in json.loads(said.splitlines()[0])["event"]
