"""Tests of live updates over a real port, by the service as it is started."""

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from support.processes import PATIENCE_SECONDS, free_port, started

pytestmark = pytest.mark.whole

PASSWORD = "correct horse battery"
KEY = "key_test_sandbox"


class Served:
    """A service with a sandbox, and somebody who is logged in."""

    def __init__(self, url: str) -> None:
        self.client = httpx.Client(base_url=url, timeout=PATIENCE_SECONDS, trust_env=False)
        self.identify("john.doe@example.com", preferred_name="Johnny")
        assert self.client.post("/dashboard/login", data={"password": PASSWORD}).status_code == 303
        self.home = self.client.get("/dashboard").headers["location"].removesuffix("/overview")

    def identify(self, email: str, **traits: object) -> None:
        call = {"traits": {"email": email, **traits}}
        assert self.client.post("/identify", json=call, auth=(KEY, "")).status_code == 202

    def stream(self, page: str) -> Iterator[str]:
        """The parts of a page as they come, until the stream ends."""
        headers = {"Accept": "text/event-stream"}
        with self.client.stream("GET", f"{self.home}/{page}/live", headers=headers) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            for line in answer.iter_lines():
                if line.startswith("data: "):
                    yield json.loads(line.removeprefix("data: "))["html"]


Running = tuple[Served, "subprocess.Popen[bytes]"]


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    port, sandbox_port = free_port(), free_port()
    command = ["serve", "--port", str(port), "--with-sandbox", "--sandbox-port", str(sandbox_port)]
    url = f"http://127.0.0.1:{port}"
    with started(command, f"{url}/readyz", tmp_path, tmp_path / "log", ADMIN_PASSWORD=PASSWORD) as process:
        served = Served(url)
        yield served, process
        served.client.close()


def test_stream_ends_at_logout(running: Running) -> None:
    """A new call appears without a reload; after a logout the stream ends."""
    served, _ = running
    parts = served.stream("calls")
    first = next(parts)
    assert "number_of_contacts" not in first
    served.identify("john.doe@example.com", number_of_contacts=4711)
    assert any("number_of_contacts" in part for part in parts)

    token = served.client.cookies["dashboard_session"]
    form = served.client.get("/dashboard/accounts").text.split('name="csrf" value="')[1].split('"')[0]
    assert served.client.post("/dashboard/logout", data={"csrf": form}).status_code == 303
    assert list(parts) == []  # it ends
    served.client.cookies.set("dashboard_session", token)
    headers = {"Accept": "text/event-stream"}
    assert served.client.get(f"{served.home}/calls/live", headers=headers).status_code == 204


def test_stream_ends_with_the_service(running: Running) -> None:
    """A stream ends when the service stops, without delaying it."""
    served, process = running
    parts = served.stream("overview")
    next(parts)
    begun = time.monotonic()
    process.terminate()
    for _ in parts:
        pass
    process.wait(PATIENCE_SECONDS)

    assert time.monotonic() - begun < PATIENCE_SECONDS / 2
