"""Tests of text that both databases can store."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import from_json

from prosperstack_destination.storable_text import storable, storable_json, storable_text

#: JSON with any text, halves of surrogate pairs included.
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=[])),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(exclude_categories=[])), inner, max_size=3)
    ),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("plain", "plain"),
        ("\U0001f600", "\U0001f600"),
        ("a\0b", "a\ufffdb"),
        ("\ud83d", "\ufffd"),
        ("\ude00\ud83d", "\ufffd\ufffd"),
        ("\ud83d\ude00", "\U0001f600"),
        ("\ufeffa\0", "\ufeffa\ufffd"),
    ],
)
def test_unstorable_characters_become_u_fffd(text: str, stored: str) -> None:
    """U+0000 and lone halves are replaced one by one, and everything else stays."""
    assert storable_text(text) == stored


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        (rb'"\u0000"', "\ufffd"),
        (rb'"\\u0000"', r"\u0000"),
        (rb'"\\\u0000"', "\\\ufffd"),
        (rb'"\uD83D\uDE00"', "\U0001f600"),
        (rb'"\uD83D"', "\ufffd"),
        (rb'"\uD83D\uD83D\uDE00"', "\ufffd\U0001f600"),
        (rb'"\ud83d\\ude00"', "\ufffd\\ude00"),
    ],
)
def test_escapes_in_json_text_are_replaced(text: bytes, stored: str) -> None:
    """Only escapes are replaced, and a backslash that is itself escaped begins none."""
    assert from_json(storable_json(text)) == stored


@given(ANY_JSON)
def test_json_text_and_json_values_become_the_same(value: Any) -> None:
    """JSON text that is made storable reads as the value that is made storable, and can be encoded."""
    text = json.dumps(value).encode()

    found = from_json(storable_json(text))

    assert json.dumps(found) == json.dumps(storable(json.loads(text)))
    assert b"\\u0000" not in json.dumps(found, ensure_ascii=False).encode().replace(rb"\\", b"")
