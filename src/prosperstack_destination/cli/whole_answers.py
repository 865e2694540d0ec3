"""The server's protocol, whose answers leave in one piece.

uvicorn looks into each header of an answer by itself, and sends its head and its body one after the other: two
system calls, two packets, and a client that wakes up twice.
"""

import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from prosperstack_destination.cli.idling import Idling

#: What no header's value may have: it would end the header, and begin another.
_ODD: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
#: Headers that say how the rest of an answer is sent: uvicorn's business.
_SENDING: Final = frozenset({b"connection", b"transfer-encoding"})

#: An ASGI message.
Message = MutableMapping[str, Any]


class WholeAnswers(Idling):
    """Sends an answer's head together with its body, where the head tells how long that is."""

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Callable[..., Awaitable[None]]) -> None:
        def answered(scope: object, receive: object, _: object) -> Awaitable[None]:
            return app(scope, receive, _Answer(cycle).send)

        super()._start_asgi_task(cycle, answered)


class _Answer:
    """Takes what an application sends in answer to a request."""

    __slots__ = ("_cycle", "_head")

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle
        #: What is held back until the body is there: it is at hand, where the head knows its length.
        self._head: Message | None = None

    async def send(self, message: Message) -> None:
        """See ASGI. What cannot be sent as a whole goes uvicorn's way."""
        cycle = self._cycle
        head, self._head = self._head, None
        if head is not None:
            text = _whole(cycle, head, message)
            if text is not None:
                _send(cycle, text)
                return
            await cycle.send(head)  # type: ignore[arg-type] # an ASGI message, too
        elif not cycle.response_started and _tells_its_length(message):
            self._head = message
            return
        await cycle.send(message)  # type: ignore[arg-type]


def _tells_its_length(message: Message) -> bool:
    return message["type"] == "http.response.start" and any(
        name == b"content-length" for name, _ in message.get("headers", ())
    )


def _whole(cycle: RequestResponseCycle, head: Message, rest: Message) -> bytes | None:
    """An answer's text; None where it is not as plain as nearly all are."""
    if rest["type"] != "http.response.body" or rest.get("more_body") or cycle.scope["method"] == "HEAD":
        return None
    if cycle.access_log or cycle.flow.write_paused or cycle.disconnected:
        return None
    headers = (*cycle.default_headers, *head["headers"])
    return text_of(head["status"], lines_of(headers), rest.get("body", b""), keep_alive=cycle.keep_alive)


def text_of(status: int, lines: bytes | None, body: bytes, *, keep_alive: bool) -> bytes | None:
    """An answer as it is sent, with its headers' lines; None where they say anything that is not as plain."""
    if lines is None or b"\r\ncontent-length: %d\r\n" % len(body) not in b"\r\n" + lines:
        return None
    end = b"\r\n" if keep_alive else b"connection: close\r\n\r\n"
    return b"".join((STATUS_LINE[status], lines, end, body))


def lines_of(headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    """The lines of headers; None where uvicorn has to look at one."""
    lines: list[bytes] = []
    for name, value in headers:
        if name.lower() in _SENDING or _ODD.search(value):
            return None
        lines.append(b"%b: %b\r\n" % (name.lower(), value))
    return b"".join(lines)


def _send(cycle: RequestResponseCycle, text: bytes) -> None:
    """Send all that there is in answer to a request, as uvicorn does at the end of one."""
    cycle.waiting_for_100_continue = False
    cycle.response_started = cycle.response_complete = True
    if not cycle.transport.is_closing():  # the other end may have hung up meanwhile
        cycle.transport.write(text)
    cycle.message_event.set()
    if not cycle.keep_alive:
        cycle.transport.close()
    cycle.on_response()
