"""Pipelined calls to the service itself, behind its limits, over real sockets."""

import asyncio
import base64
import re
from pathlib import Path

import httpx
import pytest

from support.raw_http import Client, chunked, post, serving
from support.service import KEY, running, settings

pytestmark = pytest.mark.anyio

CONNECTIONS = 64
REQUESTS = 12


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}


def request(number: int, n: int) -> tuple[bytes, str, int]:
    """One of several kinds of request, its id, and the status that it has to get."""
    request_id = f"{number}-{n}"
    key = base64.b64encode(f"{KEY}:".encode()).decode()
    headers = f"Authorization: Basic {key}\r\nX-Request-Id: {request_id}\r\n"
    call = f'{{"traits": {{"email": "p{number}.{n}@example.com"}}}}'.encode()
    kinds = [
        (post("/identify", call, headers), 202),
        (post("/identify", b"{", headers), 400),
        (post("/identify/", call, headers + "Connection: Upgrade\r\nUpgrade: h2c\r\n"), 202),
        (chunked("/v1/identify", b"%x\r\n%b\r\n0\r\n\r\n" % (len(call), call), headers), 200),
        (f"HEAD /healthz HTTP/1.1\r\nHost: x\r\n{headers}\r\n".encode(), 200),
        (post("/nowhere", call, headers), 404),
        (post("/identify", call, f"X-Request-Id: {request_id}\r\n"), 401),
    ]
    text, status = kinds[(number + n) % len(kinds)]
    return text, request_id, status


async def answers(client: Client, requests: list[tuple[bytes, str, int]]) -> list[tuple[str, int]]:
    """The ids and the statuses of the answers, in the order that they come in."""
    found = []
    for text, _, _ in requests:
        head = await client.head()
        length = re.search(rb"content-length: (\d+)", head)
        if length is not None and not text.startswith(b"HEAD "):
            await client.reader.readexactly(int(length[1]))
        named = re.search(rb"x-request-id: ([^\r]*)", head)
        assert named is not None
        found.append((named[1].decode(), int(head.split()[1])))
    return found


async def test_every_call_gets_its_own_answer(tmp_path: Path) -> None:
    """64 connections pipeline calls of all kinds; answers come in order, with the ids of their requests."""
    async with running(settings(tmp_path)) as service:
        assert isinstance(service.transport, httpx.ASGITransport)
        await service.identify("first@example.com")  # the key is known from here on
        async with serving(service.transport.app) as connect:

            async def pipeline(number: int) -> None:
                client = await connect()
                requests = [request(number, n) for n in range(REQUESTS)]
                await client.send(b"".join(text for text, _, _ in requests))
                expected = [(request_id, status) for _, request_id, status in requests]
                assert await answers(client, requests) == expected

            await asyncio.gather(*(pipeline(number) for number in range(CONNECTIONS)))
