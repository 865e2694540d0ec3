"""From a request's bytes to a JSON object."""

import asyncio
import json
import math
import re
from collections.abc import MutableMapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prosperstack_destination.errors import CallTooLarge, InvalidCall
from prosperstack_destination.ingest.request_body import MAX_DEPTH, parse_object, read_body

ASCII = st.characters(codec="ascii")


def nested(depth: int) -> bytes:
    """An object that nests so many levels."""
    return b'{"a":' * depth + b"1" + b"}" * depth


def receiving(*chunks: bytes) -> Any:
    """An ASGI receive that hands out a body in these chunks."""
    messages: list[MutableMapping[str, Any]] = [
        {"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks
    ]
    messages[-1]["more_body"] = False

    async def receive() -> MutableMapping[str, Any]:
        return messages.pop(0)

    return receive


def test_an_object_is_parsed() -> None:
    """A JSON object is what it says."""
    assert parse_object(b'{"a": [1, "x", null]}') == {"a": [1, "x", None]}


@pytest.mark.parametrize("escape", [b"\\u0000", b"\\ud83d", b"\\uDE00"])
def test_text_that_cannot_be_stored_is_replaced(escape: bytes) -> None:
    """An emoji that a sender cut in half, and U+0000, cost a call one character, and nothing else."""
    assert parse_object(b'{"a%s": ["b%s"]}' % (escape, escape)) == {"a\ufffd": ["b\ufffd"]}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "The body is empty"),
        (b"  ", "The body is empty"),
        (b"{", "not valid JSON"),
        (b"\xff", "not valid JSON"),
        (b'{"a": Nan}', "not valid JSON"),
        (b'{"a": NaN, "b": 1e999}', "a number that is too large"),
        (b'{"a": NaN,' + nested(MAX_DEPTH + 1)[1:], "nests deeper than 32 levels"),
        (b'{"a": NaN,' + nested(5000)[1:], "nests deeper than 32 levels"),
        (b"[NaN]", "has to be a JSON object, not an array"),
        (b'{"a": 1} x', "not valid JSON"),
        (b"[]", "has to be a JSON object, not an array"),
        (b"null", "has to be a JSON object, not null"),
        (b'"x"', "has to be a JSON object, not text"),
        (b"1", "has to be a JSON object, not a number"),
        (b"true", "has to be a JSON object, not a boolean"),
        (b'{"a": 1e999}', "a number that is too large"),
        (b'{"a": [-1.5E+400 , 1]}', "a number that is too large"),
        (b'{"a": {"b": 9E0310\n}}', "a number that is too large"),
        (nested(MAX_DEPTH + 1), "nests deeper than 32 levels"),
        (nested(150), "nests deeper than 32 levels"),
        (nested(5000), "not valid JSON"),
        (b'{"a":' + b"[" * 40 + b"]" * 40 + b"}", "nests deeper than 32 levels"),
    ],
)
def test_what_is_no_sane_object_is_refused(body: bytes, reason: str) -> None:
    """What is no JSON, no object, too deep or too large a number is refused in words."""
    with pytest.raises(InvalidCall, match=re.escape(reason)):
        parse_object(body)


@pytest.mark.parametrize(
    "body",
    [nested(MAX_DEPTH), json.dumps({"a": [[]] * 100}).encode(), b'{"a": 1e308, "b": "1e999", "c": ["e123}"]}'],
)
def test_what_is_just_within_bounds_is_taken(body: bytes) -> None:
    """Many objects side by side are not deep, and large numbers are not infinite."""
    assert parse_object(body) == json.loads(body)


@given(
    number=st.from_regex(r"-?[1-9][0-9]{0,30}(\.[0-9]{1,5})?[eE][+-]?[0-9]{1,4}", fullmatch=True, alphabet=ASCII),
    after=st.sampled_from([",", " ,", "\n\t}", "}"]),
)
def test_a_number_is_refused_where_a_double_cannot_hold_it(number: str, after: str) -> None:
    """In whatever form its exponent is written, and whatever follows it."""
    rest = "" if "}" in after else '"b": 1}'
    body = f'{{"a": {number}{after}{rest}'.encode()

    if math.isinf(float(number)):
        with pytest.raises(InvalidCall, match="too large"):
            parse_object(body)
    else:
        assert parse_object(body)["a"] == float(number)


@pytest.mark.anyio
async def test_a_body_in_pieces_is_put_together() -> None:
    """However a body is cut up on the way, it is read whole."""
    assert await read_body(receiving(b'{"a"', b": 1", b"}"), None) == b'{"a": 1}'


@pytest.mark.anyio
@pytest.mark.parametrize("chunks", [(b"x" * 11,), (b"x" * 6, b"x" * 5), (b"x" * 6, b"x" * 6, b"never read")])
async def test_a_body_past_the_limit_is_refused(chunks: tuple[bytes, ...]) -> None:
    """A body is refused as soon as it is past the limit, also where no length was declared."""
    with pytest.raises(CallTooLarge):
        await read_body(receiving(*chunks), None, limit=10)


@pytest.mark.anyio
async def test_a_declared_length_past_the_limit_is_refused_unread() -> None:
    """Nothing is read of a body that says that it is too large."""

    async def never() -> MutableMapping[str, Any]:
        raise AssertionError("it was read")

    with pytest.raises(CallTooLarge):
        await read_body(never, 11, limit=10)


@pytest.mark.anyio
async def test_a_caller_who_hangs_up_is_no_call() -> None:
    """A body whose rest does not come is refused."""
    messages: list[MutableMapping[str, Any]] = [
        {"type": "http.request", "body": b"{", "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> MutableMapping[str, Any]:
        await asyncio.sleep(0)
        return messages.pop(0)

    with pytest.raises(InvalidCall, match="closed before the whole body"):
        await read_body(receive, None)


def test_nan_is_missing() -> None:
    """NaN and Infinity, which are no JSON, count as missing at any depth; as text they are text."""
    body = b'{"a": NaN, "b": [1, -Infinity, {"c": Infinity}], "d": "NaN", "e": "\\ud83d"}'

    assert parse_object(body) == {"b": [1, {}], "d": "NaN", "e": "\ufffd"}
