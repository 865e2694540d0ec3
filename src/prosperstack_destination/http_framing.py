"""Framing of HTTP requests: the length of a body, and the end of a chunked one."""

from typing import Final

import httptools

#: End of a request's head.
END_OF_HEAD: Final = b"\r\n\r\n"
#: Largest piece of a chunked body that is parsed at once, in bytes.
_PIECE_BYTES: Final = 64 * 1024


def content_length(head: bytes) -> int:
    """Return the length of a body by its head in lower case; 0 without one, or for one that the server refuses."""
    name = b"\r\ncontent-length:"
    start = head.find(name)
    if start < 0:
        return 0
    start += len(name)
    value = head[start : head.find(b"\r\n", start)].strip(b" \t").lstrip(b"0")
    return int(value) if value.isdigit() and len(value) < 20 else 0


class ChunkedBody:
    """Finds the end of a chunked body, whose pieces are given one after the other."""

    def __init__(self) -> None:
        #: Bytes since the last byte of content: of chunk headers and trailers.
        self.overhead = 0
        #: True if the body has ended.
        self.ended = False
        self._parser = httptools.HttpRequestParser(self)
        self._parser.feed_data(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")

    def on_body(self, _: bytes) -> None:
        """Reset the overhead. Called by the parser, as is `on_message_complete`."""
        self.overhead = 0

    def on_message_complete(self) -> None:
        """Note the end of the body."""
        self.ended = True

    def take(self, received: bytes) -> int:
        """Return the number of received bytes that belong to the body; set `ended` if it ends with them.

        The body ends with an empty line. So the parser reads up to one empty line after another, and the beginning
        of an empty line is left until its rest arrives.
        """
        start = 0
        while start < len(received) and not self.ended:
            found = received.find(END_OF_HEAD, start, start + _PIECE_BYTES)
            end = min(len(received), start + _PIECE_BYTES) if found < 0 else found + len(END_OF_HEAD)
            piece = received[start:end]
            if found < 0:
                piece = piece[: len(piece) - _partial_empty_line(piece)]
            if not piece:
                break
            self.overhead += len(piece)
            try:
                self._parser.feed_data(piece)
            except httptools.HttpParserError:
                return len(received)  # the server refuses it, and closes
            start += len(piece)
        return start


def _partial_empty_line(piece: bytes) -> int:
    """Return the number of bytes at the end of a piece that may begin an empty line."""
    return next((length for length in (3, 2, 1) if piece.endswith(END_OF_HEAD[:length])), 0)
