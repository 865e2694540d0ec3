"""Arrays of events: read piece by piece, so that a large one does not hold up the others."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from typing import Final

from prosperstack_destination.errors import InvalidCall

#: The most that Segment's Webhooks (Actions) destination puts into one request.
MAX_EVENTS: Final = 4_000
#: Events that are split off before others get a turn.
_PIECE: Final = 40

#: White space, and the bytes of UTF-8's byte order mark, which no JSON has before its first bracket.
_BEFORE_ARRAY: Final = b" \t\n\r\xef\xbb\xbf"
_SPACE: Final = re.compile(r"[ \t\n\r]*")
_DECODER: Final = json.JSONDecoder()


def is_array(body: bytes) -> bool:
    """Return whether a body begins as a JSON array."""
    return body.lstrip(_BEFORE_ARRAY)[:1] == b"["


async def split_array(body: bytes) -> AsyncIterator[bytes]:
    """Yield the elements of a JSON array, each as its own text in the body.

    Raises `InvalidCall` where the body is not an array, or has more than `MAX_EVENTS`.
    """
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidCall(f"The body is not UTF-8: {error.reason} at byte {error.start}.") from None
    place = _skip_space(text, 0) + 1  # past the opening bracket
    place = _skip_space(text, place)
    if text[place : place + 1] == "]":
        _expect_end(text, place + 1)
        return
    for count in range(1, MAX_EVENTS + 1):
        end = _end_of_value(text, place)
        yield text[place:end].encode()
        place = _skip_space(text, end)
        if text[place : place + 1] == "]":
            _expect_end(text, place + 1)
            return
        if text[place : place + 1] != ",":
            raise InvalidCall(f"The body is not valid JSON: expected , or ] at character {place}.")
        place = _skip_space(text, place + 1)
        if count % _PIECE == 0:
            await asyncio.sleep(0)
    raise InvalidCall(f"The array has more than {MAX_EVENTS:,} events: set a smaller batch size in Segment.")


def _end_of_value(text: str, place: int) -> int:
    try:
        _, end = _DECODER.raw_decode(text, place)
    except json.JSONDecodeError as error:
        raise InvalidCall(f"The body is not valid JSON: {error.msg} at character {error.pos}.") from None
    except RecursionError:
        raise InvalidCall("The body nests far too deep.") from None
    except ValueError as error:  # an integer with thousands of digits
        raise InvalidCall(f"The body is not valid JSON: {error}.") from None
    return end


def _skip_space(text: str, place: int) -> int:
    match = _SPACE.match(text, place)
    return place if match is None else match.end()


def _expect_end(text: str, place: int) -> None:
    if _skip_space(text, place) != len(text):
        raise InvalidCall(f"The body is not valid JSON: it goes on after the array, at character {place}.")
