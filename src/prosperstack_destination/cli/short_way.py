"""The server's protocol, in which a plain Identify call takes a short way: no task, and none of ASGI's messages.

uvicorn begins a task once a request's headers are there. Here one to `PATH` is held back until its body is there as
well, which it nearly always is with the same packet, and offered to `TakePlain`. What that does not take goes
uvicorn's way after all, as if it had come just now.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final

from prosperstack_destination.cli.whole_answers import WholeAnswers, lines_of, text_of

#: Where plain calls are sent to, without a query string.
PATH: Final = b"/identify"

Headers = Sequence[tuple[bytes, bytes]]
#: Takes an answer: its status, its headers (that of the request's id is the last) and its body.
Answer = Callable[[int, Headers, bytes], None]
#: Takes a request's headers and body in, and calls the third argument with the answer, later. False: it does not,
#: and nothing has happened.
TakePlain = Callable[[Headers, bytes, Answer], bool]


class ShortWay(WholeAnswers):
    """Offers requests to ``take_plain``, but for those that come in at ``other_port``. None takes none."""

    def __init__(self, *args: Any, take_plain: TakePlain | None, other_port: int | None, **named: Any) -> None:
        super().__init__(*args, **named)
        self._take_plain = take_plain
        self._other_port = other_port
        #: The body of a request that is held back, as far as it is there.
        self._held: bytes | None = None

    def data_received(self, data: bytes) -> None:
        """Take in what a connection brings."""
        super().data_received(data)
        if self._held is not None:  # the rest of it may take its time, or never come: uvicorn's business
            self._go_the_long_way()

    def on_headers_complete(self) -> None:
        """Hold a request back, or begin with it."""
        if self.url == PATH and self._may_be_plain():
            self._held = b""
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take in a piece of a request's body."""
        if self._held is None:
            super().on_body(body)
        else:
            self._held += body

    def on_message_complete(self) -> None:
        """Offer a request that was held back."""
        if self._held is None:
            super().on_message_complete()
            return
        plain = _PlainCycle(self)
        if self._take_plain is not None and self._take_plain(self.headers, self._held, plain.answer):
            self._held = None
            self.cycle = plain  # type: ignore[assignment] # what uvicorn looks at between two requests is there
        else:
            self._go_the_long_way()
            super().on_message_complete()

    def _may_be_plain(self) -> bool:
        return (
            self._take_plain is not None
            and (self.cycle is None or self.cycle.response_complete)  # or it has to wait for its turn
            and not self.flow.write_paused  # or it has to wait until its sender takes in what was answered before
            and self.parser.get_method() == b"POST"
            and self.parser.get_http_version() == "1.1"
            and (self.server is None or self.server[1] != self._other_port)
        )

    def _go_the_long_way(self) -> None:
        body, self._held = self._held, None
        super().on_headers_complete()
        if body:
            super().on_body(body)


#: Of an answer's headers all but the last, which is its own, are those of many: the date changes once a second.
_usual_lines: Final = lru_cache(maxsize=64)(lines_of)


class _Unheard:
    def set(self) -> None:
        """Tell nobody: no task waits for the rest of a plain request, or for its end."""


class _PlainCycle:
    """What uvicorn's `RequestResponseCycle` is to a request that has a task, as far as it is looked at."""

    __slots__ = ("_protocol", "disconnected", "keep_alive", "response_complete")

    message_event: Final = _Unheard()

    def __init__(self, protocol: ShortWay) -> None:
        self._protocol = protocol
        self.keep_alive = protocol.parser.should_keep_alive()
        self.response_complete = False
        self.disconnected = False

    def answer(self, status: int, headers: Headers, body: bytes) -> None:
        """Send the answer, and go on with the connection."""
        protocol = self._protocol
        self.response_complete = True
        if self.disconnected or protocol.transport.is_closing():
            return
        usual = _usual_lines((*protocol.server_state.default_headers, *headers[:-1]))
        own = lines_of(headers[-1:])
        lines = None if usual is None or own is None else usual + own
        text = text_of(status, lines, body, keep_alive=self.keep_alive)
        if text is None:
            protocol.transport.close()  # whoever waits is not to wait for ever
            raise ValueError("the answer to a plain request is not plain")
        protocol.transport.write(text)
        if not self.keep_alive:
            protocol.transport.close()
        protocol.on_response_complete()
