"""Connections of the HTTP client by aiohttp, with the errors of httpx, and with limits on the bytes of a response.

aiohttp bounds neither interim responses (1xx) nor the extensions of chunks, and parses them as fast as they come,
which leaves the event loop no time for anything else. `GuardedConnector` puts a `ResponseGuard` before each
connection, by asyncio's `set_protocol`.
"""

import asyncio
import ssl
from typing import Any, Final

import aiohttp
import httpx
import structlog
from aiohttp.connector import Connection
from httpx_aiohttp import AiohttpTransport

log = structlog.get_logger(__name__)

#: Bytes before the head of a response is read, with what arrives of its body meanwhile.
HEAD_BYTES: Final = 512 * 1024
#: Bytes of a whole response, with the framing of its chunks: twice the largest body.
RESPONSE_BYTES: Final = 16 * 1024 * 1024


class AiohttpConnections(AiohttpTransport):
    """httpx transport over one pool of aiohttp connections, without cookies and without proxies."""

    def __init__(self, certificates: ssl.SSLContext, max_connections: int, keepalive_seconds: float) -> None:
        super().__init__(verify=certificates, client=self._open)
        self._certificates = certificates
        self._max_connections = max_connections
        self._keepalive_seconds = keepalive_seconds

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request. Raises `httpx.TransportError` for any failure before the response's body."""
        try:
            return await super().handle_async_request(request)
        except httpx.ConnectTimeout as error:  # the base class calls every failure of a connection so
            if isinstance(error.__cause__, TimeoutError):
                raise
            refused = isinstance(error.__cause__, aiohttp.ClientConnectorError)
            kind = httpx.ConnectError if refused else httpx.RemoteProtocolError
            raise kind(str(error)) from error.__cause__
        except (aiohttp.ClientError, ValueError) as error:  # no HTTP, or headers without end
            raise httpx.RemoteProtocolError(str(error)) from error

    def _open(self) -> aiohttp.ClientSession:
        connector = GuardedConnector(
            ssl=self._certificates, limit=self._max_connections, keepalive_timeout=self._keepalive_seconds
        )
        return aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trace_configs=[guard_bodies()]
        )


class GuardedConnector(aiohttp.TCPConnector):
    """Connector whose connections are closed at the limits of `ResponseGuard`."""

    async def connect(self, *args: Any, **named: Any) -> Connection:
        """Return a connection for one request."""
        connection = await super().connect(*args, **named)
        transport = connection.transport
        if transport is not None:
            guard = transport.get_protocol()
            if not isinstance(guard, ResponseGuard):
                guard = ResponseGuard(guard, transport)
                transport.set_protocol(guard)
            guard.left = HEAD_BYTES
        return connection


def guard_bodies() -> aiohttp.TraceConfig:
    """Return the trace of a session that allows the body of a response once its head is read."""
    trace = aiohttp.TraceConfig()
    trace.on_request_end.append(_allow_body)
    return trace


async def _allow_body(_session: object, _context: object, ended: aiohttp.TraceRequestEndParams) -> None:
    connection = ended.response.connection
    guard = None if connection is None or connection.transport is None else connection.transport.get_protocol()
    if isinstance(guard, ResponseGuard):
        guard.left = RESPONSE_BYTES


class ResponseGuard(asyncio.Protocol):
    """Protocol that passes on the bytes of responses, and closes a connection that sends too many."""

    def __init__(self, inner: Any, transport: asyncio.Transport) -> None:
        #: Bytes that the server may still send.
        self.left = HEAD_BYTES
        self._inner = inner
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Pass on bytes up to the limit."""
        self.left -= len(data)
        if self.left >= 0:
            self._inner.data_received(data)
        elif not self._transport.is_closing():
            log.warning("connection was closed: the response has too many bytes that are no body")
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass on the end of the connection."""
        self._inner.connection_lost(exc)

    def eof_received(self) -> bool | None:
        """Pass on the end of the stream."""
        ended: bool | None = self._inner.eof_received()
        return ended

    def pause_writing(self) -> None:
        """Pass on a pause."""
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """Pass on the end of a pause."""
        self._inner.resume_writing()
