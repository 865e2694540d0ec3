"""Limits on connections, which stand between the network and an HTTP server's protocol.

uvicorn on httptools bounds neither the size of a request's head nor the time that a request may take to come, and
it reads on while requests of a connection wait. `ConnectionGuard` hands it one request of a connection at a time,
with its whole head, by asyncio's `Protocol` and `Transport` alone. It passes all bytes on as they came, but for the
header ``Upgrade``: this service upgrades no connection, and the server would drop the body of a request that asks.
"""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

import httptools
import structlog
from starlette.types import ASGIApp, Receive, Scope, Send

log = structlog.get_logger(__name__)

#: How often connections are looked through for those that are past a limit, in seconds.
_SWEEP_SECONDS: Final = 1.0
#: A warning about connections that were closed comes at most this often, in seconds.
_WARNING_SECONDS: Final = 10.0
#: The largest piece of a chunked body that is handed over at once, in bytes.
_PIECE_BYTES: Final = 64 * 1024
#: Reading goes on while no more than this waits for its turn, in bytes. A client may send its next request before
#: the answer to the last is noted here: to pause and resume for that takes two system calls.
_HELD_BYTES: Final = 64 * 1024
#: Where a connection is found in the ``state`` of a request's scope.
_STATE: Final = "prosperstack_destination.connection"

_END_OF_HEAD: Final = b"\r\n\r\n"
#: The beginning of what can become no request: it does not begin with a method, or has a bare line feed. The
#: server refuses it at once.
_HOPELESS: Final = re.compile(rb"\A[^A-Za-z]|(?<!\r)\n")
#: What asks for a tunnel, or for HTTP/2: the server would neither call the application nor answer.
_REFUSED_METHODS: Final = (b"connect ", b"pri ")
_UPGRADE: Final = re.compile(rb"\r\n(?:upgrade|http2-settings):[^\r\n]*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of the connections of one server."""

    #: Connections that are open at once. Past it the one that has waited longest for a request is closed.
    connections: int
    #: Bytes of a request's head, and of the trailers of a chunked body.
    head_bytes: int = 64 * 1024
    #: From the first byte of a head to its last, in seconds.
    head_seconds: float = 10.0
    #: From the end of a head to the end of the body, in seconds.
    body_seconds: float = 30.0
    #: Without a request, in seconds.
    idle_seconds: float = 65.0
    #: Without reading any of an answer, or while closing, in seconds.
    unread_seconds: float = 30.0


class _Phase(IntEnum):
    """State of a connection."""

    IDLE = 0
    HEAD = 1
    BODY = 2
    #: A whole request has come; its answer has not ended.
    ANSWER = 3


class ConnectionGuard:
    """The limits of all connections of a server.

    It is the ASGI application that the server runs, around ``app``, and `protocol` makes the server's protocol,
    which ``inner`` makes without limits.
    """

    def __init__(self, app: ASGIApp, limits: Limits, inner: Callable[..., asyncio.Protocol]) -> None:
        self._app = app
        self._inner = inner
        self.limits = limits
        #: The open connections in each phase, and when that began (by the event loop's clock): the oldest first.
        self._since: tuple[dict[GuardedConnection, float], ...] = tuple({} for _ in _Phase)
        #: Those of which the peer reads nothing, or which are closing.
        self._unread: dict[GuardedConnection, float] = {}
        self._sweeping: asyncio.TimerHandle | None = None
        self._closed: dict[str, int] = {}
        self._warned_at = -_WARNING_SECONDS

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Any:
        """Answer a request, and tell its connection when that has ended."""
        connection = scope.get("state", {}).get(_STATE) if scope["type"] == "http" else None
        task = asyncio.current_task()
        if connection is not None and task is not None:
            task.add_done_callback(connection.response_ended)
        return self._app(scope, receive, send)

    def protocol(self, *args: Any, app_state: dict[str, Any], **named: Any) -> asyncio.Protocol:
        """Make the protocol of a connection, with the arguments of ``inner``."""
        connection = GuardedConnection(self)
        connection.inner = self._inner(*args, app_state={**app_state, _STATE: connection}, **named)
        return connection

    def connection_opened(self, connection: "GuardedConnection") -> None:
        """Take a connection in; close another one, or this one, where there are too many."""
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
        """Note that the peer of a connection has to read before it goes on."""
        self._unread.setdefault(connection, connection.loop.time())

    def mark_read(self, connection: "GuardedConnection") -> None:
        """Note that it did."""
        self._unread.pop(connection, None)

    def warn(self, reason: str) -> None:
        """Count a connection that was closed for a reason; the log has a line at most each ten seconds."""
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
    found = []
    for connection, at in since.items():
        if at > than:
            break
        found.append(connection)
    return found


class GuardedConnection(asyncio.Protocol):
    """One connection: hands over a request once its head is there and the one before it is answered."""

    inner: asyncio.Protocol

    def __init__(self, guard: ConnectionGuard) -> None:
        self._guard = guard
        self.loop = asyncio.get_running_loop()
        self.phase = _Phase.IDLE
        self._transport: asyncio.Transport
        #: Received, and not handed over yet.
        self._held = b""
        #: Whether a request is being answered; it may end before the request's body does.
        self._answering = False
        #: What is still to come of the body: bytes, or chunks.
        self._left = 0
        self._chunks: _Chunks | None = None
        self._server_pauses = self._write_pauses = self._paused = False

    # What the event loop calls.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # of a stream
        """Begin with a connection."""
        self._transport = transport
        self.inner.connection_made(_GuardedTransport(self, transport))
        self._guard.connection_opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._held = b""
        self._guard.forget(self)
        self.inner.connection_lost(exc)

    def eof_received(self) -> bool | None:
        """Pass on that nothing more will come."""
        return self.inner.eof_received()

    def data_received(self, data: bytes) -> None:
        """Take in what came."""
        self._held = self._held + data if self._held else data
        self._advance()

    def pause_writing(self) -> None:
        """The peer does not read."""
        self._write_pauses = True
        self._guard.mark_unread(self)
        self.inner.pause_writing()

    def resume_writing(self) -> None:
        """The peer reads again."""
        self._write_pauses = False
        self._guard.mark_read(self)
        self.inner.resume_writing()
        self._advance()

    # What the guard and the transport call.

    def response_ended(self, _: object) -> None:
        """The application has ended a request."""
        self._answering = False
        if self.phase is _Phase.ANSWER:
            self._enter(_Phase.IDLE)
            self._advance()

    def pause_by_server(self, *, paused: bool) -> None:
        """Stop or go on reading, because the server asks for it."""
        self._server_pauses = paused
        self._set_reading()

    def close(self) -> None:
        """Close, once the answers that were written are read."""
        self._held = b""
        if not self._transport.is_closing():
            self._guard.mark_unread(self)
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._held = b""
        self._transport.abort()

    def time_out_head(self) -> None:
        """Close: the rest of a head did not come in time."""
        self._guard.warn("slow_head")
        self.refuse(408, "Request Timeout")

    def time_out_body(self) -> None:
        """Close: the rest of a body did not come in time. An answer may have begun."""
        self._guard.warn("slow_body")
        self.close()

    def refuse(self, status: int, reason: str) -> None:
        """Answer a head that is not handed over, and close."""
        self._transport.write(
            f"HTTP/1.1 {status} {reason}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode()
        )
        self.close()

    # From the network to the server.

    def _advance(self) -> None:
        """Hand over what can be; stop reading while something is left that has to wait."""
        while self._held and not self._transport.is_closing():
            if self.phase is _Phase.BODY:
                going_on = self._take_body()
            else:
                going_on = self.phase is not _Phase.ANSWER and not self._write_pauses and self._take_head()
            if not going_on:
                break
        self._set_reading()

    def _set_reading(self) -> None:
        waiting = len(self._held) > _HELD_BYTES and (
            self.phase is _Phase.ANSWER or (self._write_pauses and self.phase is not _Phase.BODY)
        )
        paused = waiting or self._server_pauses
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
        """Hand over a head with what is there of its body. False: its end is not there."""
        held = self._held
        if held[0] in b"\r\n":  # empty lines before a request are nothing
            self._held = held = held.lstrip(b"\r\n")
        end = held.find(_END_OF_HEAD) + len(_END_OF_HEAD)
        if end < len(_END_OF_HEAD):
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
        length = _content_length(names)
        self._left = length
        if b"\r\ntransfer-encoding:" in names:
            self._chunks = _Chunks()
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
        """Hand over what is there of a body. False: more has to come first."""
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
        if ended and not self._answering:  # the answer came before the end of the body
            self._enter(_Phase.IDLE)
        return True


def _content_length(head: bytes) -> int:
    """The length of a body by its head in lower case. 0 where none is given, or one that the server refuses."""
    name = b"\r\ncontent-length:"
    start = head.find(name)
    if start < 0:
        return 0
    start += len(name)
    value = head[start : head.find(b"\r\n", start)].strip(b" \t")
    return int(value) if value.isdigit() and len(value) < 20 else 0


class _Chunks:
    """Finds the end of a chunked body."""

    def __init__(self) -> None:
        #: Bytes since the last byte of content: of chunk headers and trailers.
        self.overhead = 0
        #: Whether the end has come.
        self.ended = False
        self._parser = httptools.HttpRequestParser(self)
        self._parser.feed_data(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")

    def on_body(self, _: bytes) -> None:
        self.overhead = 0

    def on_message_complete(self) -> None:
        self.ended = True

    def take(self, held: bytes) -> int:
        """Return how much of what came belongs to the body; sets `ended` where it ends with that.

        The body ends with an empty line. So the parser reads up to one empty line after another, and the beginning
        of an empty line is left until the rest of it has come.
        """
        start = 0
        while start < len(held) and not self.ended:
            found = held.find(_END_OF_HEAD, start, start + _PIECE_BYTES)
            end = min(len(held), start + _PIECE_BYTES) if found < 0 else found + len(_END_OF_HEAD)
            piece = held[start:end]
            if found < 0:
                piece = piece[: len(piece) - _begun_empty_line(piece)]
            if not piece:
                break
            self.overhead += len(piece)
            try:
                self._parser.feed_data(piece)
            except httptools.HttpParserError:
                return len(held)  # the server refuses it, and closes
            start += len(piece)
        return start


def _begun_empty_line(piece: bytes) -> int:
    """Return how many bytes at the end of a piece may begin an empty line."""
    return next((length for length in (3, 2, 1) if piece.endswith(_END_OF_HEAD[:length])), 0)


class _GuardedTransport(asyncio.Transport):
    """The transport that the server sees: reading and closing are the connection's business."""

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
