"""Answers leave in one piece."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from uvicorn.server import ServerState

from prosperstack_destination.cli.whole_answers import MOST_GATHERED, WholeAnswers

pytestmark = pytest.mark.anyio

CHUNK = b"x" * 50_000


async def greet(_request: Request) -> Response:
    return PlainTextResponse("hello")


async def pour(_request: Request) -> Response:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(10):
            yield CHUNK

    return StreamingResponse(chunks())


class Wire(asyncio.Transport):
    """The other end of a connection: each piece that was sent, and whether it was hung up."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[bytes] = []
        self.sent = asyncio.Event()
        self.closed = asyncio.Event()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Be sent a piece; as with uvloop, that fails once it was hung up."""
        if self.closed.is_set():
            raise RuntimeError("the handler is closed")
        self.pieces.append(bytes(data))
        self.sent.set()

    def close(self) -> None:
        """Be hung up."""
        self.closed.set()

    def is_closing(self) -> bool:
        """Whether it was hung up."""
        return self.closed.is_set()

    def get_extra_info(self, _name: str, default: Any = None) -> Any:
        """Nothing is known of the other end."""
        return default


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[WholeAnswers, Wire]]:
    config = uvicorn.Config(
        Starlette(routes=[Route("/", greet), Route("/pour", pour)]), log_config=None, lifespan="off"
    )
    config.load()
    state, wire = ServerState(), Wire()
    protocol = WholeAnswers(config=config, server_state=state, app_state={})
    protocol.connection_made(wire)
    yield protocol, wire
    protocol.connection_lost(None)
    await asyncio.gather(*state.tasks)


async def test_head_and_body_are_one_piece() -> None:
    """Each answer on a connection is one write, and the last one is sent before it is hung up."""
    async with connected() as (protocol, wire):
        protocol.data_received(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        async with asyncio.timeout(10):
            await wire.sent.wait()
        protocol.data_received(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        async with asyncio.timeout(10):
            await wire.closed.wait()

    assert len(wire.pieces) == 2
    for piece in wire.pieces:
        head, _, body = piece.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK")
        assert body == b"hello"


async def test_what_streams_does_not_pile_up() -> None:
    """However much is written in one turn, little of it is held back; none of it is lost, and its order stays."""
    async with connected() as (protocol, wire):
        protocol.data_received(b"GET /pour HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        async with asyncio.timeout(10):
            await wire.closed.wait()

    assert max(map(len, wire.pieces)) <= MOST_GATHERED + len(CHUNK) + 100
    body = b"".join(wire.pieces).partition(b"\r\n\r\n")[2]
    assert body == b"".join(b"%x\r\n%b\r\n" % (len(CHUNK), CHUNK) for _ in range(10)) + b"0\r\n\r\n"


async def test_whoever_hangs_up_meanwhile_is_sent_nothing() -> None:
    """Between an answer and its sending the connection may be gone: that is no fault of ours to be logged."""
    faults: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
    async with connected() as (protocol, wire):
        protocol.transport.write(b"HTTP/1.1 200 OK")
        wire.close()
        await asyncio.sleep(0)

    assert wire.pieces == []
    assert faults == []
