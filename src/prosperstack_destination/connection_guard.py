"""Limits on connections, between the network and an HTTP server's protocol.

uvicorn on httptools bounds neither the size of a request's head nor the time in which a request has to arrive, and
it continues to read while requests of a connection wait. `ConnectionGuard` passes it one request of a connection at
a time, with its whole head, by asyncio's `Protocol` and `Transport` alone. It passes all bytes on unchanged, except
for the header ``Upgrade``: this service upgrades no connection, and the server would drop such a request's body.
"""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from itertools import takewhile
from typing import Any, Final

import structlog
from starlette.types import ASGIApp, Receive, Scope, Send

from prosperstack_destination.http_framing import END_OF_HEAD, ChunkedBody, content_length

log = structlog.get_logger(__name__)

#: Interval of the checks for connections past a limit, in seconds.
_SWEEP_SECONDS: Final = 1.0
#: Shortest interval of warnings about closed connections, in seconds.
_WARNING_SECONDS: Final = 10.0
#: Waiting bytes up to which reading continues. A client may send its next request before the end of the last
#: response is noted here, and a pause would take two system calls.
_HELD_BYTES: Final = 64 * 1024
#: Key of the connection in the ``state`` of a request's scope.
_STATE: Final = "prosperstack_destination.connection"

#: Bytes that cannot become a request: without a method at the beginning, or with a bare line feed. The server
#: refuses them at once.
_HOPELESS: Final = re.compile(rb"\A[^A-Za-z]|(?<!\r)\n")
#: Requests for a tunnel, or for HTTP/2: the server would neither call the application nor respond.
_REFUSED_METHODS: Final = (b"connect ", b"pri ")
_UPGRADE: Final = re.compile(rb"\r\n(?:upgrade|http2-settings):[^\r\n]*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of the connections of one server."""

    #: Open connections. Beyond it the one that has waited longest for a request is closed.
    connections: int
    #: Bytes of a request's head, and of the trailers of a chunked body.
    head_bytes: int = 64 * 1024
    #: Time from the first byte of a head to its last, in seconds.
    head_seconds: float = 10.0
    #: Time from the end of a head to the end of the body, in seconds.
    body_seconds: float = 30.0
    #: Time without a request, in seconds.
    idle_seconds: float = 65.0
    #: Time in which the peer reads nothing of a response, or while closing, in seconds.
    unread_seconds: float = 30.0


class _Phase(IntEnum):
    """State of a connection."""

    IDLE = 0
    HEAD = 1
    BODY = 2
    #: The whole request was received; its response has not ended.
    ANSWER = 3


class ConnectionGuard:
    """Limits of all connections of a server.

    It is the ASGI application that the server runs, around ``app``. `protocol` creates the server's protocol, which
    ``inner`` creates without limits.
    """

    def __init__(self, app: ASGIApp, limits: Limits, inner: Callable[..., asyncio.Protocol]) -> None:
        self._app = app
        self._inner = inner
        self.limits = limits
        #: Open connections in each phase, with its start by the event loop's clock; the oldest first.
        self._since: tuple[dict[GuardedConnection, float], ...] = tuple({} for _ in _Phase)
        #: Connections whose peer reads nothing, or which are closing.
        self._unread: dict[GuardedConnection, float] = {}
        self._sweeping: asyncio.TimerHandle | None = None
        self._closed: dict[str, int] = {}
        self._warned_at = -_WARNING_SECONDS

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Any:
        """Respond to a request, and notify its connection of the end."""
        connection = scope.get("state", {}).get(_STATE) if scope["type"] == "http" else None
        task = asyncio.current_task()
        if connection is not None and task is not None:
            task.add_done_callback(connection.response_ended)
        return self._app(scope, receive, send)

    def protocol(self, *args: Any, app_state: dict[str, Any], **named: Any) -> asyncio.Protocol:
        """Return the protocol of a connection, with the arguments of ``inner``."""
        connection = GuardedConnection(self)
        connection.inner = self._inner(*args, app_state={**app_state, _STATE: connection}, **named)
        return connection

    def connection_opened(self, connection: "GuardedConnection") -> None:
        """Register a connection; close another one, or this one, if there are too many."""
        if sum(map(len, self._since)) >= self.limits.connections:
            self._make_room(connection)
        self._since[_Phase.IDLE][connection] = connection.loop.time()
        if self._sweeping is None:
            self._sweeping = connection.loop.call_later(_SWEEP_SECONDS, self._sweep, connection.loop)

    def forget(self, connection: "GuardedConnection") -> None:
        """Forget a connection."""
        self._since[connection.phase].pop(connection, None)
        self._unread.pop(connection, None)

    def phase_changed(self, connection: "GuardedConnection", phase: _Phase) -> None:
        """Note that a connection entered a phase."""
        if self._since[connection.phase].pop(connection, None) is not None:
            self._since[phase][connection] = connection.loop.time()

    def mark_unread(self, connection: "GuardedConnection") -> None:
        """Note that the peer of a connection has to read first."""
        self._unread.setdefault(connection, connection.loop.time())

    def mark_read(self, connection: "GuardedConnection") -> None:
        """Note that the peer of a connection has read."""
        self._unread.pop(connection, None)

    def warn(self, reason: str) -> None:
        """Count a connection that was closed for a reason; at most one warning every ten seconds."""
        self._closed[reason] = self._closed.get(reason, 0) + 1
        self._report(asyncio.get_running_loop().time())

    def _report(self, now: float) -> None:
        if self._closed and now - self._warned_at >= _WARNING_SECONDS:
            self._warned_at = now
            log.warning("connections were closed at a limit", **self._closed)
            self._closed.clear()

    def _make_room(self, newest: "GuardedConnection") -> None:
        for phase in (_Phase.IDLE, _Phase.HEAD, _Phase.BODY):
            oldest = next(iter(self._since[phase]), None)
            if oldest is not None:
                self.warn("too_many_waiting")
                self.forget(oldest)
                oldest.abort()
                return
        self.warn("too_many_busy")
        newest.refuse(503, "Service Unavailable")

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for phase, seconds, close in (
            (_Phase.IDLE, self.limits.idle_seconds, GuardedConnection.close),
            (_Phase.HEAD, self.limits.head_seconds, GuardedConnection.time_out_head),
            (_Phase.BODY, self.limits.body_seconds, GuardedConnection.time_out_body),
        ):
            for connection in _older(self._since[phase], now - seconds):
                self.forget(connection)
                close(connection)
        for connection in _older(self._unread, now - self.limits.unread_seconds):
            self.forget(connection)
            self.warn("unread")
            connection.abort()
        self._report(now)
        alive = self._closed or self._unread or any(self._since)
        self._sweeping = loop.call_later(_SWEEP_SECONDS, self._sweep, loop) if alive else None


def _older(since: dict["GuardedConnection", float], than: float) -> list["GuardedConnection"]:
    """Return the connections whose time is not after ``than``; the oldest are first."""
    return [connection for connection, _ in takewhile(lambda item: item[1] <= than, since.items())]


class GuardedConnection(asyncio.Protocol):
    """Connection that passes a request on once its head is complete and the previous response has ended."""

    inner: asyncio.Protocol

    def __init__(self, guard: ConnectionGuard) -> None:
        self._guard = guard
        self.loop = asyncio.get_running_loop()
        self.phase = _Phase.IDLE
        self._transport: asyncio.Transport
        #: Received bytes that are not passed on yet.
        self._held = b""
        #: True if a response is running; it may end before the request's body does.
        self._answering = False
        #: Rest of the body: a number of bytes, or chunks.
        self._left = 0
        self._chunks: ChunkedBody | None = None
        self._server_pauses = self._write_pauses = self._paused = False

    # Called by the event loop.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # of a stream
        """Start a connection."""
        self._transport = transport
        self.inner.connection_made(_GuardedTransport(self, transport))
        self._guard.connection_opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """End the connection."""
        self._held = b""
        self._guard.forget(self)
        self.inner.connection_lost(exc)

    def eof_received(self) -> bool | None:
        """Pass on the end of the stream."""
        return self.inner.eof_received()

    def data_received(self, data: bytes) -> None:
        """Receive bytes."""
        self._held = self._held + data if self._held else data
        self._advance()

    def pause_writing(self) -> None:
        """Pause: the peer does not read."""
        self._write_pauses = True
        self._guard.mark_unread(self)
        self.inner.pause_writing()

    def resume_writing(self) -> None:
        """Resume: the peer reads again."""
        self._write_pauses = False
        self._guard.mark_read(self)
        self.inner.resume_writing()
        self._advance()

    # Called by the guard and the transport.

    def response_ended(self, _: object) -> None:
        """Note that the application has ended a response."""
        self._answering = False
        if self.phase is _Phase.ANSWER:
            self._enter(_Phase.IDLE)
            self._advance()

    def pause_by_server(self, *, paused: bool) -> None:
        """Pause or resume reading at the server's request."""
        self._server_pauses = paused
        self._set_reading()

    def close(self) -> None:
        """Close once the written responses are read."""
        self._held = b""
        if not self._transport.is_closing():
            self._guard.mark_unread(self)
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._held = b""
        self._transport.abort()

    def time_out_head(self) -> None:
        """Close: the rest of a head did not arrive in time."""
        self._guard.warn("slow_head")
        self.refuse(408, "Request Timeout")

    def time_out_body(self) -> None:
        """Close: the rest of a body did not arrive in time. A response may have begun."""
        self._guard.warn("slow_body")
        self.close()

    def refuse(self, status: int, reason: str) -> None:
        """Respond to a head that is not passed on, and close."""
        self._transport.write(
            f"HTTP/1.1 {status} {reason}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode()
        )
        self.close()

    # From the network to the server.

    def _advance(self) -> None:
        """Pass on complete parts; pause reading while the rest has to wait."""
        while self._held and not self._transport.is_closing():
            if self.phase is _Phase.BODY:
                continues = self._take_body()
            else:
                continues = self.phase is not _Phase.ANSWER and not self._write_pauses and self._take_head()
            if not continues:
                break
        self._set_reading()

    def _set_reading(self) -> None:
        has_to_wait = self.phase is _Phase.ANSWER or (self._write_pauses and self.phase is not _Phase.BODY)
        paused = self._server_pauses or (has_to_wait and len(self._held) > _HELD_BYTES)
        if paused is self._paused or self._transport.is_closing():
            return
        self._paused = paused
        if paused:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def _enter(self, phase: _Phase) -> None:
        self._guard.phase_changed(self, phase)
        self.phase = phase

    def _take_head(self) -> bool:
        """Pass on a head with the received part of its body. Return False if it is incomplete."""
        held = self._held
        if held[0] in b"\r\n":  # empty lines before a request do not count
            self._held = held = held.lstrip(b"\r\n")
        end = held.find(END_OF_HEAD) + len(END_OF_HEAD)
        if end < len(END_OF_HEAD):
            return self._await_head(held)
        if end > self._guard.limits.head_bytes:
            return self._head_is_too_large()
        names = held[:end].lower()
        if names.startswith(_REFUSED_METHODS):
            self.refuse(405, "Method Not Allowed")
            return False
        if b"\r\nupgrade:" in names:
            head = _UPGRADE.sub(b"", held[:end])
            held, end = head + held[end:], len(head)
        length = content_length(names)
        self._left = length
        if b"\r\ntransfer-encoding:" in names:
            self._chunks = ChunkedBody()
        self._answering = True
        whole = end if self._chunks is not None else end + length
        if len(held) <= whole:
            piece, self._held = held, b""
        else:
            piece, self._held = held[:whole], held[whole:]
        self._left -= len(piece) - end
        self._enter(_Phase.ANSWER if self._left == 0 and self._chunks is None else _Phase.BODY)
        self.inner.data_received(piece)
        return True

    def _await_head(self, held: bytes) -> bool:
        if len(held) > self._guard.limits.head_bytes:
            return self._head_is_too_large()
        if _HOPELESS.search(held):
            self._held = b""
            self.inner.data_received(held)  # the server answers 400, and closes
        elif held and self.phase is _Phase.IDLE:
            self._enter(_Phase.HEAD)
        return False

    def _head_is_too_large(self) -> bool:
        self._guard.warn("large_head")
        self.refuse(431, "Request Header Fields Too Large")
        return False

    def _take_body(self) -> bool:
        """Pass on the received part of a body. Return False if more has to arrive first."""
        if self._chunks is None:
            piece, self._held = self._held[: self._left], self._held[self._left :]
            self._left -= len(piece)
            ended = self._left == 0
        else:
            taken = self._chunks.take(self._held)
            if self._chunks.overhead > self._guard.limits.head_bytes:
                self._guard.warn("large_trailer")
                self.close()
                return False
            piece, self._held = self._held[:taken], self._held[taken:]
            if not piece:
                return False
            ended = self._chunks.ended
        if ended:
            self._chunks = None
            self._enter(_Phase.ANSWER)
        self.inner.data_received(piece)
        if ended and not self._answering:  # the response ended before the body
            self._enter(_Phase.IDLE)
        return True


class _GuardedTransport(asyncio.Transport):
    """Transport of the server: the connection controls reading and closing."""

    def __init__(self, connection: GuardedConnection, transport: asyncio.Transport) -> None:
        super().__init__()
        self._connection = connection
        self._transport = transport

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._transport.write(data)

    def close(self) -> None:
        self._connection.close()

    def abort(self) -> None:
        self._connection.abort()

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def pause_reading(self) -> None:
        self._connection.pause_by_server(paused=True)

    def resume_reading(self) -> None:
        self._connection.pause_by_server(paused=False)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._transport.get_extra_info(name, default)
