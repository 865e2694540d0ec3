"""Tests of masked calls."""

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
def test_mask_hides_texts_numbers_and_lengths(value: Any, shown: Any) -> None:
    """Masking hides texts, their lengths and numbers, and keeps the shape."""
    assert repr(mask(value)) == repr(shown)


@given(plain)
def test_mask_keeps_only_first_characters(value: Any) -> None:
    """At most the first character of any text is shown."""
    shown = list(texts(mask(value)))

    for text in texts(value):
        assert len(text) < 2 or not any(text in each for each in shown)


@given(json_values)
def test_mask_keeps_the_type_of_any_json(value: Any) -> None:
    """Any JSON can be masked, and keeps its type."""
    assert type(mask(value)) is type(value)


def test_deep_values_are_masked() -> None:
    """Values of any depth can be masked."""
    value: Any = "secret"
    for _ in range(900):
        value = [value]

    assert "secret" not in repr(mask(value))
