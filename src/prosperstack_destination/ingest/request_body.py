"""Body of a request: its declared length, and reading it into a JSON object, within bounds."""

import asyncio
import codecs
import json
import math
import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final

from pydantic import JsonValue
from pydantic_core import from_json

from prosperstack_destination.errors import CallTooLarge, InvalidCall
from prosperstack_destination.ingest.json_array import is_array
from prosperstack_destination.storable_text import storable_json

#: The largest event, in bytes.
EVENT_BYTES: Final = 64 * 1024
#: The deepest nesting of objects and arrays. Real calls have about five levels.
MAX_DEPTH: Final = 32
#: Time limit for the rest of a body, in seconds. Segment waits five seconds for the response.
BODY_SECONDS: Final = 10.0

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

#: The end of every number that is too large for a double, except one with hundreds of digits (which passes, and is
#: a value that no property takes). Nearly nothing else matches: in JSON, neither a letter nor a quote follows a
#: number, so IDs such as 507f191e810c do not match. (A pattern that begins with one letter is searched ten times as
#: fast as one that begins with a choice of two.)
_MAYBE_INFINITE: Final = re.compile(rb"e\+?[0-9]{3,}(?=\s*[,}\]])")
_MAYBE_INFINITE_UPPER: Final = re.compile(rb"E\+?[0-9]{3,}(?=\s*[,}\]])")
#: Surrogates as UTF-8 would encode them. Java's "modified UTF-8" and Python's ``surrogatepass`` write these.
_RAW_SURROGATE: Final = re.compile(rb"\xed[\xa0-\xbf]")

#: Digits of a declared length that are read: a longer number exceeds every limit.
_LENGTH_DIGITS: Final = 18


def content_length(headers: Mapping[bytes, bytes]) -> int | None:
    """Return the declared length of the body, in bytes; None without a valid header."""
    text = headers.get(b"content-length")
    if text is None or not text.isdigit():
        return None
    return int(text.lstrip(b"0")[:_LENGTH_DIGITS] or b"0")


async def read_body(
    receive: Receive, length: int | None, limit: int = EVENT_BYTES, array_limit: int | None = None
) -> bytes:
    """Return a request's body.

    ``length`` is the declared one (see `content_length`). ``limit`` and ``array_limit`` are in bytes; the latter is
    for a body that begins as a JSON array. Raises `CallTooLarge` above the limit, without reading on; `InvalidCall`
    where the rest of the body does not arrive.
    """
    most = max(limit, array_limit or 0)
    if length is not None and length > most:
        raise CallTooLarge(most)
    message = await receive()
    body: bytes = message.get("body", b"")
    if array_limit is not None and is_array(body):
        limit = array_limit
    if message.get("more_body", False):
        try:
            async with asyncio.timeout(BODY_SECONDS):
                body = await _read_rest(receive, bytearray(body), limit)
        except TimeoutError as error:
            raise InvalidCall(f"The body did not come within {BODY_SECONDS:.0f} seconds.") from error
    if len(body) > limit:
        raise CallTooLarge(limit)
    return body


async def _read_rest(receive: Receive, body: bytearray, limit: int) -> bytes:
    while len(body) <= limit:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise InvalidCall("The connection was closed before the whole body had come.")
        body += message.get("body", b"")
        if not message.get("more_body", False):
            return bytes(body)
    raise CallTooLarge(limit)


def parse_object(body: bytes) -> dict[str, JsonValue]:
    """Parse a JSON object. Characters that the database cannot store become U+FFFD: see `storable`.

    NaN and Infinity, which are not JSON but which Python's libraries may write, count as missing. See `repair` for
    byte order marks and surrogates. Raises `InvalidCall` for a body that is not JSON or not an object, nests
    deeper than `MAX_DEPTH`, or has a number that is too large for a double.
    """
    if not body.strip():
        raise InvalidCall("The body is empty: send one call as a JSON object.")
    try:
        value = _from_json(body)
    except ValueError:
        value = _from_lenient_json(repair(body))
    if not isinstance(value, dict):
        raise InvalidCall(f"The body has to be a JSON object, not {json_kind(value)}.")
    # Checking the bytes first spares nearly every call a walk through its values.
    is_deep = body.count(b"{") + body.count(b"[") > MAX_DEPTH
    if is_deep or _MAYBE_INFINITE.search(body) or _MAYBE_INFINITE_UPPER.search(body):
        check_bounds(value)
    return value


def repair(body: bytes) -> bytes:
    """Return a body without a byte order mark, with raw surrogates joined to pairs or replaced by U+FFFD.

    A body with other faults is returned unchanged: the encoding of a body that is not UTF-8 is not guessed. Only
    bodies that do not parse need this.
    """
    body = body.removeprefix(codecs.BOM_UTF8)
    if _RAW_SURROGATE.search(body) is None:
        return body
    try:
        text = body.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return body
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def _from_json(body: bytes) -> JsonValue:
    value: JsonValue = from_json(
        storable_json(body), allow_inf_nan=False, cache_strings="keys"
    )  # names repeat from call to call, values seldom do
    return value


def _from_lenient_json(body: bytes) -> JsonValue:
    """Parse JSON that may hold NaN and Infinity. Raises `InvalidCall`."""
    try:
        return _from_json(body)
    except ValueError as error:
        if b"NaN" not in body and b"Infinity" not in body:
            raise InvalidCall(f"The body is not valid JSON: {error}.") from None
    try:
        value: JsonValue = json.loads(storable_json(body), parse_constant=not_a_number)
        check_bounds(value)
    except RecursionError:
        raise InvalidCall(f"The body nests deeper than {MAX_DEPTH} levels.") from None
    except ValueError as error:
        raise InvalidCall(f"The body is not valid JSON: {error}.") from None
    return without_nan(value)


def not_a_number(_: str) -> float:
    """Return NaN for NaN, Infinity and -Infinity; `without_nan` removes it."""
    return math.nan


def without_nan(value: JsonValue) -> JsonValue:
    """Return a value without NaN, at any depth that `check_bounds` permits."""
    if isinstance(value, dict):
        return {name: without_nan(item) for name, item in value.items() if item == item}
    if isinstance(value, list):
        return [without_nan(item) for item in value if item == item]
    return value


def check_bounds(value: JsonValue, subject: str = "The body") -> None:
    """Raise `InvalidCall` for nesting deeper than `MAX_DEPTH` and for infinite numbers.

    ``subject`` begins the message. The walk goes level by level, without recursion.
    """
    level: list[JsonValue] = [value]
    for _ in range(MAX_DEPTH):
        below: list[JsonValue] = []
        for item in level:
            kind = type(item)  # faster than isinstance, in a loop over every value; the parser makes no subclasses
            if kind is dict:
                below.extend(item.values())  # type: ignore[union-attr]
            elif kind is list:
                below.extend(item)  # type: ignore[arg-type]
            elif kind is float and math.isinf(item):  # type: ignore[arg-type]
                raise InvalidCall(f"{subject} has a number that is too large.")
        if not below:
            return
        level = below
    if any(isinstance(item, dict | list) for item in level):
        raise InvalidCall(f"{subject} nests deeper than {MAX_DEPTH} levels.")


def json_kind(value: object) -> str:
    """Return the kind of a JSON value in words, for messages that must not quote the value."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case list():
            return "an array"
        case _:
            return "an object"
