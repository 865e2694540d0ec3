"""Arrays of events, and their signatures."""

import asyncio
import hashlib
import hmac
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prosperstack_destination.errors import InvalidApiKey, InvalidCall
from prosperstack_destination.ingest.json_array import MAX_EVENTS, is_array, split_array
from prosperstack_destination.ingest.signature import sign, verify

pytestmark = pytest.mark.anyio


async def split(body: bytes) -> list[bytes]:
    return [text async for text in split_array(body)]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


async def test_each_element_is_as_it_stands() -> None:
    """An element's text is the very text of the body, white space within it and all."""
    assert await split(b' [ {"a" : 1.0} ,\n"x", [ ] ,5]\r\n') == [b'{"a" : 1.0}', b'"x"', b"[ ]", b"5"]


@pytest.mark.parametrize(("body", "yes"), [(b"[", True), (b" \n[1]", True), (b"{", False), (b"", False)])
def test_what_is_meant_as_an_array(body: bytes, yes: bool) -> None:
    """An array is told by how it begins."""
    assert is_array(body) is yes


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"[", "not valid JSON"),
        (b"[1", "expected , or ]"),
        (b"[1,", "not valid JSON"),
        (b"[1,]", "not valid JSON"),
        (b"[1 2]", "expected , or ]"),
        (b"[1] x", "goes on after the array"),
        (b"[] []", "goes on after the array"),
        (b'["a', "not valid JSON"),
        (b"[\xff]", "not UTF-8"),
        (b"[" * 100_000, "nests far too deep"),
        (b"[" + b"9" * 5000 + b"]", "not valid JSON"),
        (b"[" + b"1," * MAX_EVENTS + b"1]", "more than 4,000 events"),
    ],
)
async def test_what_is_no_array_is_refused(body: bytes, reason: str) -> None:
    """A broken array is refused whole, with where it breaks."""
    with pytest.raises(InvalidCall, match=re.escape(reason)):
        await split(body)


async def test_the_largest_array() -> None:
    """Segment sends up to 4,000 events at once."""
    assert len(await split(json.dumps([{"n": n} for n in range(MAX_EVENTS)]).encode())) == MAX_EVENTS


@given(st.lists(json_values, max_size=5), st.booleans())
def test_any_array_is_split_as_it_is(values: list[object], spaced: bool) -> None:
    """The elements of any array are those that a parser finds."""
    body = json.dumps(values, indent=1 if spaced else None).encode()

    assert [json.loads(text) for text in asyncio.run(split(body))] == values


def test_a_signature_is_segments() -> None:
    """The signature is the hex HMAC-SHA1 that Segment documents."""
    assert sign(b"{}", "secret") == hmac.new(b"secret", b"{}", hashlib.sha1).hexdigest()


def test_any_good_secret_may_have_signed() -> None:
    """While secrets are rotated more than one is good; another one is not."""
    signature = sign(b"{}", "new").upper().encode()

    verify(signature, [b"{}"], ["old", "new"])
    for secrets in (["old"], []):
        with pytest.raises(InvalidApiKey, match="X-Signature"):
            verify(signature, [b"{}"], secrets)
    with pytest.raises(InvalidApiKey):
        verify(b"\xff", [b"{}"], ["new"])
