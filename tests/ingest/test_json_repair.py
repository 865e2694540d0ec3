"""Repair of bodies with half a surrogate pair, or a byte order mark."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prosperstack_destination.errors import InvalidCall
from prosperstack_destination.ingest.request_body import parse_object

BOM = b"\xef\xbb\xbf"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (rb"\ud83d", "\ufffd"),
        (rb"\uDE00", "\ufffd"),
        (rb"a \uD83D b", "a \ufffd b"),
        (rb"\ud83d\ud83d\ude00", "\ufffd\U0001f600"),
        (rb"\ude00\ud83d", "\ufffd\ufffd"),
        (rb"\ud83d\u0041", "\ufffdA"),
        (rb"\ud83d\n", "\ufffd\n"),
        (rb"\\ud83d \ud83d", "\\ud83d \ufffd"),
        (rb"\\\ud83d", "\\\ufffd"),
        (b"\xed\xa0\xbd", "\ufffd"),
        (b"\xed\xb8\x80x", "\ufffdx"),
        (b"\xed\xa0\xbd\xed\xb8\x80", "\U0001f600"),
    ],
)
def test_half_a_surrogate_pair_is_replaced(text: bytes, value: str) -> None:
    """An emoji that was cut in two costs one character, as a value and as a name, and no call."""
    assert parse_object(b'{"a": "' + text + b'"}') == {"a": value}
    assert parse_object(b'{"' + text + b'": 1}') == {value: 1}


def test_a_byte_order_mark_is_skipped() -> None:
    """A byte order mark before a body says nothing; one within a text is a character of it."""
    assert parse_object(BOM + b'{"a": 1}') == {"a": 1}
    assert parse_object(b'{"a": "' + BOM + b'"}') == {"a": "\ufeff"}


@pytest.mark.parametrize(
    "body", [b'{"a": "\xff"}', b'{"a": "\xed\xa0\xbd\xff"}', b'{"a": "caf\xe9"}', b'{"a": "\\ud83"}']
)
def test_other_encodings_are_refused(body: bytes) -> None:
    """What is no UTF-8, or no escape, is not guessed at."""
    with pytest.raises(InvalidCall, match="not valid JSON"):
        parse_object(body)


@given(st.text(alphabet=st.characters(codec="utf-16", categories=["Cs", "L", "So"]) | st.sampled_from('\\"u')))
def test_any_text_survives_but_for_its_halves(text: str) -> None:
    """Whatever an encoder writes of a text comes back, with U+FFFD for what is no character."""
    body = json.dumps({"a": text}).encode()

    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    assert parse_object(body) == {"a": whole}
