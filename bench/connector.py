"""Benchmark of the data connector's latency under other load.

The service runs on one core; the load and the sandbox (which gives way to it) on the other. Calls come at a steady
rate, whatever the answers take (an open loop), as cancel flows do.
"""

import argparse
import asyncio
import base64
import gc
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import uvloop
from bench.servers import KEY, LOAD_CORE, PORT, SERVER_CORE, serving
from rich.console import Console
from rich.table import Table

SANDBOX_PORT = 8798
SANDBOX_KEY = "key_test_bench"
SANDBOX = f"http://127.0.0.1:{SANDBOX_PORT}/v1"
URL = f"http://127.0.0.1:{PORT}"
#: Subscribers of the sandbox, half of whom are written to.
SUBSCRIBERS = 20_000
#: Its requests a minute: as ProsperStack has them, and sixty times as many.
REAL, SIXTYFOLD = 100, 6_000
#: Identify calls in a request of the SDKs' kind.
BATCH = 100


@dataclass(frozen=True, slots=True)
class Measured:
    """Milliseconds from sending a call to having its answer."""

    p50: float
    p99: float
    worst: float


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20, help="of each run")
    parser.add_argument("--rate", type=int, default=200, help="calls of the data connector a second")
    parser.add_argument("--received", type=int, default=1000, help="Identify calls a second, for the last run")
    options = parser.parse_args()
    os.sched_setaffinity(0, {int(LOAD_CORE)})
    gc.disable()  # two looks at all that was asked took 50 ms each, and counted as the service's
    with tempfile.TemporaryDirectory() as folder:
        uvloop.run(_measure(Path(folder), options.seconds, options.rate, options.received))


async def _measure(folder: Path, seconds: float, rate: int, received: int) -> None:
    console = Console(highlight=False)
    table = Table("While", "p50 ms", "p99 ms", "worst ms", "plain route, p99 ms", box=None, header_style="bold")
    async with aiohttp.ClientSession() as http:
        with _service(folder) as token:
            with _sandbox(SIXTYFOLD):
                emails = await _emails(http)
                await _send_all(http, emails, properties=False)  # known, and nothing to be written for them
                await _settled(http, len(set(emails)))
            for limit, name, backlog, calls in (
                (REAL, "nothing else goes on", False, 0),
                (REAL, "a backlog is written, as fast as ProsperStack takes it", True, 0),
                (SIXTYFOLD, "a backlog is written, sixty times as fast", True, 0),
                (SIXTYFOLD, f"that, and {received:,} calls a second come in", True, received),
            ):
                with _sandbox(limit):
                    if backlog:
                        await _send_all(http, emails)
                    console.print(f"measuring: {name}", style="dim")
                    feeding = asyncio.create_task(_feed(http, emails, calls))
                    plain, each = await asyncio.gather(
                        _ask(None, emails, seconds, rate // 4), _ask(token, emails, seconds, rate)
                    )
                    feeding.cancel()
                table.add_row(name, f"{each.p50:.1f}", f"{each.p99:.1f}", f"{each.worst:.1f}", f"{plain.p99:.1f}")
    console.print(table)


@contextmanager
def _sandbox(rate_limit: int) -> Iterator[None]:
    """ProsperStack, with the same subscribers each time."""
    command = ["nice", sys.executable, "-m", "prosperstack_destination", "sandbox", "--port", str(SANDBOX_PORT)]
    command += ["--subscribers", str(SUBSCRIBERS), "--key", SANDBOX_KEY, "--rate-limit", str(rate_limit)]
    with serving(command, {}, SANDBOX_PORT, "/", core=LOAD_CORE):
        yield


@contextmanager
def _service(folder: Path) -> Iterator[str]:
    """The service; a connector token of its account, which ProsperStack opened."""
    settings = {
        "DATA_DIR": str(folder / "data"),
        "PROSPERSTACK_API_KEY": SANDBOX_KEY,
        "SEGMENT_KEYS": KEY,
        "PROSPERSTACK_BASE_URL": SANDBOX,
        "LOG_LEVEL": "error",
    }
    command = [sys.executable, "-m", "prosperstack_destination"]
    with serving([*command, "serve", "--port", str(PORT)], settings, PORT, "/healthz", core=SERVER_CORE):
        issued = subprocess.run(
            [*command, "connectors", "issue"],
            env={**os.environ, **settings},
            check=True,
            capture_output=True,
            text=True,
        )
        yield issued.stdout.split("/data-connector/")[1].split()[0]


async def _settled(http: aiohttp.ClientSession, people: int) -> None:
    """Wait until there is nothing left to do for as many people."""
    while True:
        async with http.get(f"{URL}/metrics") as answer:
            text = await answer.text()
        counts = re.findall(r"^prosperstack_destination_settled_total\{.*?\} (\S+)$", text, re.MULTILINE)
        if sum(map(float, counts)) >= people:
            return
        await asyncio.sleep(0.2)


def _basic(key: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{key}:".encode()).decode()}


async def _emails(http: aiohttp.ClientSession) -> list[str]:
    """Return the emails of the sandbox's subscribers."""
    emails: list[str] = []
    cursor = ""
    while True:
        query = {"limit": "100", **({"cursor": cursor} if cursor else {})}
        async with http.get(f"{SANDBOX}/subscribers", params=query, headers=_basic(SANDBOX_KEY)) as answer:
            page = await answer.json()
        emails += [each["email"] for each in page["data"]]
        cursor = page["next_cursor"]
        if not cursor or len(emails) >= SUBSCRIBERS // 2:
            return emails


async def _send_all(http: aiohttp.ClientSession, emails: list[str], *, properties: bool = True) -> None:
    for start in range(0, len(emails), BATCH):
        await _send(http, emails[start : start + BATCH], properties=properties)


async def _send(http: aiohttp.ClientSession, emails: list[str], *, properties: bool = True) -> None:
    """Identify people, each with other values than before, for properties or for none."""
    now = time.time()
    number, text = ("number_of_contacts", "preferred_name") if properties else ("logins", "plan")
    events = [
        {
            "type": "identify",
            "traits": {"email": email, number: random.randrange(10**6), text: f"{now}"},
        }
        for email in emails
    ]
    async with http.post(f"{URL}/v1/batch", json={"batch": events}, headers=_basic(KEY)) as answer:
        assert answer.status == 200, await answer.text()


async def _feed(http: aiohttp.ClientSession, emails: list[str], calls: int) -> None:
    """Identify people at a steady rate, until cancelled."""
    while calls:
        begun = time.perf_counter()
        await _send(http, random.sample(emails, BATCH))
        await asyncio.sleep(max(0.0, BATCH / calls - (time.perf_counter() - begun)))


async def _ask(token: str | None, emails: list[str], seconds: float, rate: int) -> Measured:
    """Ask at a steady rate; without a token a route that does nothing: what the machine itself takes."""
    lines: list[_Line] = []
    begun = time.perf_counter()

    async def one() -> float:
        request = _request(token, random.choice(emails))
        asked = time.perf_counter()
        line = lines.pop() if lines else await _Line.open()
        assert await line.ask(request) == 200
        lines.append(line)
        return (time.perf_counter() - asked) * 1000

    asking = []
    for number in range(int(seconds * rate)):
        await asyncio.sleep(max(0.0, begun + number / rate - time.perf_counter()))
        asking.append(asyncio.create_task(one()))
    times = await asyncio.gather(*asking)
    for line in lines:
        line.close()
    percentiles = statistics.quantiles(times, n=100)
    return Measured(percentiles[49], percentiles[98], max(times))


def _request(token: str | None, email: str) -> bytes:
    if token is None:
        return f"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:{PORT}\r\n\r\n".encode()
    subscriber = {"id": "subr_x", "platform_id": "cus_x", "email": email}
    body = json.dumps({"data_connector_id": "dcon_1", "data": {"subscriber": subscriber}})
    head = f"POST /data-connector/{token} HTTP/1.1\r\nHost: 127.0.0.1:{PORT}\r\nContent-Length: {len(body)}"
    return f"{head}\r\nContent-Type: application/json\r\n\r\n{body}".encode()


class _Line:
    """A connection for one request after the other. A whole HTTP client would take longer than what it measures."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls) -> "_Line":
        """Connect."""
        return cls(*await asyncio.open_connection("127.0.0.1", PORT))

    async def ask(self, request: bytes) -> int:
        """Send a request, and read its answer to the end; its status."""
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head)
        assert length is not None
        await self._reader.readexactly(int(length[1]))
        return int(head[9:12])

    def close(self) -> None:
        """Close the connection."""
        self._writer.close()


if __name__ == "__main__":
    main()
