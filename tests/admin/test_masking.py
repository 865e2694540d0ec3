"""Showing what a call looked like without anybody's data."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from prosperstack_destination.admin.calls import ELLIPSIS, mask
from support.json_values import json_values

#: JSON of texts that are not made of what stands for them.
readable = st.text(st.characters(exclude_characters=ELLIPSIS))
plain = st.recursive(
    readable | st.integers() | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("kxyz@"), inner, max_size=4),
    max_leaves=8,
)


def texts(value: JsonValue) -> Iterator[str]:
    """Every text within a value; keys are none."""
    match value:
        case str():
            yield value
        case list():
            for each in value:
                yield from texts(each)
        case dict():
            for each in value.values():
                yield from texts(each)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("john.doe@example.com", "j…"),
        ("a", "a…"),
        ("", ""),
        ("a…", "…"),
        (4711, 0),
        (-0.5, 0.0),
        (True, True),
        (None, None),
        ({"traits": {"Email": "x", "list": ["Ann", 5]}}, {"traits": {"Email": "x…", "list": ["A…", 0]}}),
        ({"john@x.y": 1, "jim@x.y": 2, "j…": 3}, {"j…": 0, "j……": 0, "j………": 0}),
    ],
)
def test_what_is_hidden(value: Any, shown: Any) -> None:
    """Texts and numbers are hidden, and how long they are; the shape stays."""
    assert repr(mask(value)) == repr(shown)


@given(plain)
def test_no_text_is_shown(value: Any) -> None:
    """Of no text more than its first character is anywhere in what is shown."""
    shown = list(texts(mask(value)))

    for text in texts(value):
        assert len(text) < 2 or not any(text in each for each in shown)


@given(json_values)
def test_nothing_breaks_it(value: Any) -> None:
    """Any JSON can be masked, and stays of its kind."""
    assert type(mask(value)) is type(value)


def test_what_is_too_deep() -> None:
    """However deep a value nests, it can be masked."""
    value: Any = "secret"
    for _ in range(900):
        value = [value]

    assert "secret" not in repr(mask(value))
