"""The server's protocol, whose answers leave in one piece.

uvicorn writes the head of an answer and its body one after the other, and the event loop sends each at once: two
system calls, two packets, and a client that wakes up twice.
"""

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

#: More is not gathered: what streams must not pile up, in bytes.
MOST_GATHERED: Final = 64 * 1024


class WholeAnswers(HttpToolsProtocol):
    """What is written in one turn of the event loop is sent before the next."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin with a connection."""
        super().connection_made(_Gathering(transport, self.loop))


class _Gathering(asyncio.Transport):
    """A connection that holds back what is written until the event loop turns; the rest of it is as it was."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._transport = transport
        self._loop = loop
        self._parts: list[bytes] = []
        self._size = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send this, after what was written before."""
        if not self._parts:
            self._loop.call_soon(self._send)
        self._parts.append(bytes(data))
        self._size += len(data)
        if self._size > MOST_GATHERED:
            self._send()

    def _send(self) -> None:
        if self._parts:
            data = b"".join(self._parts)
            self._parts.clear()
            self._size = 0
            if not self._transport.is_closing():  # the other end may have hung up meanwhile
                self._transport.write(data)

    def close(self) -> None:
        """Hang up once everything is sent."""
        self._send()
        self._transport.close()

    def is_closing(self) -> bool:
        """Whether it hangs up, or has."""
        return self._transport.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Who is at the other end, for one."""
        return self._transport.get_extra_info(name, default)

    def pause_reading(self) -> None:
        """Take nothing in for a while."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Go on with taking in."""
        self._transport.resume_reading()
