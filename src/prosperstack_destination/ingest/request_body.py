"""From a request's bytes to a JSON object, within bounds."""

import asyncio
import json
import math
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from pydantic import JsonValue
from pydantic_core import from_json

from prosperstack_destination.errors import CallTooLarge, InvalidCall
from prosperstack_destination.ingest.json_array import is_array
from prosperstack_destination.ingest.json_repair import repair
from prosperstack_destination.storable import storable_json

#: The most that one event may have, in bytes.
EVENT_BYTES: Final = 64 * 1024
#: How deep objects and arrays may nest. Real calls have about five levels.
MAX_DEPTH: Final = 32
#: A body that has not come by then is given up, in seconds. Segment waits five for the answer.
BODY_SECONDS: Final = 10.0

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

#: The end of every number that is too large for a double, but for one with hundreds of digits (which gets
#: through, and is a value that no property takes): cheap to look for, and nearly nothing else has it.
#: Ids such as 507f191e810c do not: what follows a number in JSON is no letter and no quote. (An "e" that no digit
#: follows is the usual case, and is given up soonest in this form, which takes 1e+21 for suspicious as well.)
_MAYBE_INFINITE: Final = re.compile(rb"e[+0-9][0-9]{2,}(?=\s*[,}\]])")


async def read_body(
    receive: Receive, content_length: int | None, limit: int = EVENT_BYTES, array_limit: int | None = None
) -> bytes:
    """Read a request's body.

    ``array_limit`` is for a body that begins as a JSON array, where those may be larger. Raises `CallTooLarge`
    past the limit, without reading on; `InvalidCall` where the rest of it does not come.
    """
    most = max(limit, array_limit or 0)
    if content_length is not None and content_length > most:
        raise CallTooLarge(most)
    message = await receive()
    body: bytes = message.get("body", b"")
    if array_limit is not None and is_array(body):
        limit = array_limit
    if message.get("more_body", False):
        try:
            async with asyncio.timeout(BODY_SECONDS):
                body = await _read_on(receive, bytearray(body), limit)
        except TimeoutError as error:
            raise InvalidCall(f"The body did not come within {BODY_SECONDS:.0f} seconds.") from error
    if len(body) > limit:
        raise CallTooLarge(limit)
    return body


async def _read_on(receive: Receive, body: bytearray, limit: int) -> bytes:
    while len(body) <= limit:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise InvalidCall("The connection was closed before the whole body had come.")
        body += message.get("body", b"")
        if not message.get("more_body", False):
            return bytes(body)
    raise CallTooLarge(limit)


def parse_object(body: bytes) -> dict[str, JsonValue]:
    """Parse a JSON object. What its text cannot be stored with becomes U+FFFD: see `storable`.

    A byte order mark is skipped: see `ingest.json_repair`. NaN and Infinity, which are no JSON and which Python's
    libraries may write, count as missing. Raises `InvalidCall` for what is no JSON, no object, nests deeper than
    `MAX_DEPTH`, or has a number that is too large for a double.
    """
    if not body.strip():
        raise InvalidCall("The body is empty: send one call as a JSON object.")
    try:
        value = _from_json(body)
    except ValueError:
        value = _from_odd_json(repair(body))
    if not isinstance(value, dict):
        raise InvalidCall(f"The body has to be a JSON object, not {json_kind(value)}.")
    # A look at the bytes spares nearly every call a walk through its values.
    if body.count(b"{") + body.count(b"[") > MAX_DEPTH or _MAYBE_INFINITE.search(body.lower()):
        check_bounds(value)
    return value


def _from_json(body: bytes) -> JsonValue:
    value: JsonValue = from_json(
        storable_json(body), allow_inf_nan=False, cache_strings="keys"
    )  # values are seldom the same
    return value


def _from_odd_json(body: bytes) -> JsonValue:
    """A value in which there may be NaN. Raises `InvalidCall`."""
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
    """What NaN, Infinity and -Infinity are parsed as; `without_nan` removes it."""
    return math.nan


def without_nan(value: JsonValue) -> JsonValue:
    """Return a value without what is NaN in it, at any depth that `check_bounds` permits."""
    if isinstance(value, dict):
        return {name: without_nan(each) for name, each in value.items() if each == each}
    if isinstance(value, list):
        return [without_nan(each) for each in value if each == each]
    return value


def check_bounds(value: JsonValue, subject: str = "The body") -> None:
    """Walk through the values, level by level. Raises `InvalidCall` (of ``what``) for depth and infinities."""
    level: list[JsonValue] = [value]
    for _ in range(MAX_DEPTH):
        below: list[JsonValue] = []
        for each in level:
            kind = type(each)  # the parser makes no others, and this is looked at for each value of a batch
            if kind is dict:
                below.extend(each.values())  # type: ignore[union-attr]
            elif kind is list:
                below.extend(each)  # type: ignore[arg-type]
            elif kind is float and math.isinf(each):  # type: ignore[arg-type]
                raise InvalidCall(f"{subject} has a number that is too large.")
        if not below:
            return
        level = below
    if any(isinstance(each, dict | list) for each in level):
        raise InvalidCall(f"{subject} nests deeper than {MAX_DEPTH} levels.")


def json_kind(value: object) -> str:
    """What a JSON value is, in words: for messages that must not quote it."""
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
