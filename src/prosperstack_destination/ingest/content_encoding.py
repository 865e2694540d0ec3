"""Bodies that are compressed on their way: gzip and deflate, within bounds."""

import asyncio
import zlib
from collections.abc import Mapping
from typing import Final

from prosperstack_destination.errors import CallTooLarge, InvalidCall, UnsupportedEncoding
from prosperstack_destination.ingest.json_array import is_array
from prosperstack_destination.ingest.request_body import EVENT_BYTES, Receive, content_length, read_body

_GZIP: Final = frozenset({"gzip", "x-gzip"})
_NOT_ENCODED: Final = frozenset({"", "identity"})
#: Gzip allows several members in one body; real senders write one.
_MAX_MEMBERS: Final = 16


async def read_content(
    receive: Receive, headers: Mapping[bytes, bytes], limit: int = EVENT_BYTES, array_limit: int | None = None
) -> bytes:
    """Read a request's body, and decompress it: both, as sent and as read, have to keep to the limits (bytes).

    ``array_limit`` is for a JSON array. Raises `UnsupportedEncoding` before anything is read, `CallTooLarge` past a
    limit, `InvalidCall` for what is not compressed as it says, or does not come.
    """
    length = content_length(headers)
    named = headers.get(b"content-encoding")
    if named is None:
        return await read_body(receive, length, limit, array_limit)
    coding = _coding(named)
    most = max(limit, array_limit or 0)
    body = await read_body(receive, length, most)
    if coding is not None:
        body = await asyncio.to_thread(decompress, body, coding, most)  # others are answered meanwhile
    if len(body) > limit and not (array_limit is not None and is_array(body)):
        raise CallTooLarge(limit)
    return body


def _coding(named: bytes) -> str | None:
    """The one coding that a header names, gzip or deflate; None for none."""
    text = named.decode("latin-1").lower()
    codings = [each for part in text.split(",") if (each := part.strip()) not in _NOT_ENCODED]
    if not codings:
        return None
    coding = "gzip" if codings[0] in _GZIP else codings[0]
    if len(codings) > 1 or coding not in {"gzip", "deflate"}:
        raise UnsupportedEncoding(", ".join(codings)[:50])
    return coding


def decompress(body: bytes, coding: str, limit: int) -> bytes:
    """The content of a body that is compressed by gzip or deflate (with zlib's header, or raw).

    Raises `CallTooLarge` as soon as it is past a limit (bytes), `InvalidCall` for another coding, or for one
    cut off.
    """
    if coding == "deflate":
        try:
            content, rest = _inflated(body, zlib.MAX_WBITS, limit)
        except zlib.error:  # some senders leave the header away
            content, rest = _member(body, -zlib.MAX_WBITS, limit, coding)
    else:
        content, rest = b"", body
        for _ in range(_MAX_MEMBERS):
            more, rest = _member(rest, zlib.MAX_WBITS | 16, limit, coding, len(content))
            content += more
            if not rest:
                break
    if rest:
        raise InvalidCall(f"The body is not valid {coding}: it goes on after its end.")
    return content


def _member(body: bytes, wbits: int, limit: int, coding: str, before: int = 0) -> tuple[bytes, bytes]:
    try:
        return _inflated(body, wbits, limit, before)
    except zlib.error as error:
        raise InvalidCall(f"The body is not valid {coding}: {error}.") from None


def _inflated(body: bytes, wbits: int, limit: int, before: int = 0) -> tuple[bytes, bytes]:
    """The content of one compressed stream, after a number of bytes of others, and what follows it in the body.

    Raises `zlib.error` as well.
    """
    inflater = zlib.decompressobj(wbits=wbits)
    content = inflater.decompress(body, limit + 1 - before)
    if before + len(content) > limit:
        raise CallTooLarge(limit)
    if not inflater.eof:
        raise InvalidCall("The body is compressed and cut off: its end is missing.")
    return content, inflater.unused_data
