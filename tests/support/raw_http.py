"""uvicorn behind the service's limits, on a real socket of this process, and clients that write bytes to it."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import uvicorn
from starlette.types import ASGIApp

from prosperstack_destination.connection_guard import Limits
from prosperstack_destination.server import configuration

#: A connection has this long to be answered or closed, in seconds.
PATIENCE_SECONDS = 20.0


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()
            await asyncio.sleep(0)

    async def head(self) -> bytes:
        """The head of the next answer."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self.reader.readuntil(b"\r\n\r\n")

    async def answer(self) -> tuple[int, bytes]:
        """The next answer: its status and its body."""
        head = await self.head()
        async with asyncio.timeout(PATIENCE_SECONDS):
            length = re.search(rb"content-length: (\d+)", head)
            assert length is not None
            return int(head.split()[1]), await self.reader.readexactly(int(length[1]))

    async def rest(self) -> bytes:
        """All that comes until the connection is closed."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""


@asynccontextmanager
async def serving(app: ASGIApp, **limits: float) -> AsyncIterator[Callable[[], "asyncio.Future[Client]"]]:
    """Run uvicorn behind limits; the function connects to it."""
    given = {"connections": 100, **limits}
    listening = socket.create_server(("127.0.0.1", 0))
    config = configuration(app, Limits(**given))  # type: ignore[arg-type] # the number of connections is whole
    config.lifespan = "off"
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    opened: list[asyncio.StreamWriter] = []

    async def connect() -> Client:
        reader, writer = await asyncio.open_connection(*listening.getsockname(), limit=2**20)
        opened.append(writer)
        return Client(reader, writer)

    await server.startup(sockets=[listening])  # `serve` looks for the end of a test every 0.1 s only
    try:
        yield lambda: asyncio.ensure_future(connect())
    finally:
        for writer in opened:
            writer.transport.abort()  # the server may never read what waits
        await asyncio.gather(*(writer.wait_closed() for writer in opened), return_exceptions=True)
        await server.shutdown(sockets=[listening])


def post(path: str, body: bytes = b"", headers: str = "") -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body


def chunked(path: str, body: bytes, headers: str = "") -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n{headers}\r\n".encode() + body
