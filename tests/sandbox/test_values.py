"""Tests of property values."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prosperstack_destination.sandbox.store import InvalidValue, formatted, validated

#: Integers past what a float holds and halves of surrogate pairs too: JSON can carry both to the sandbox.
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=10**308)
    | st.floats()
    | st.text(st.characters(codec=None))
    | st.sampled_from(["1e999", "-5", "2021-05-04", "2021-05-04T10:00:00Z", "\ud800"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=3,
)


@given(json_values, st.sampled_from(["text", "number", "boolean", "date"]))
def test_any_value_is_valid_or_rejected(value: Any, kind: str) -> None:
    """Any JSON value is valid or rejected; a valid one can be stored, shown and validated again."""
    try:
        taken = validated(value, kind)
    except InvalidValue:
        return

    assert json.loads(json.dumps(taken, allow_nan=False, ensure_ascii=False).encode()) == taken
    assert validated(taken, kind) == taken
    assert isinstance(formatted(taken, "currency"), str)
    assert isinstance(formatted(taken, None), str)


@pytest.mark.parametrize(
    ("value", "kind", "kept"),
    [
        ("Johnny", "text", "Johnny"),
        (5800, "number", 5800),
        (-0.5, "number", -0.5),
        ("5800", "number", 5800),
        ("-1.5e3", "number", -1500.0),
        ("9007199254740993", "number", 9007199254740993),  # not by way of a float, which has no such number
        *((text, "boolean", True) for text in ("true", "t", "1")),
        *((text, "boolean", False) for text in ("false", "f", "0")),
        (True, "boolean", True),
        ("2021-05-04", "date", "2021-05-04"),
        ("2021-05-04T23:30:00-05:00", "date", "2021-05-04"),  # already the fifth in UTC
    ],
)
def test_valid_value_is_normalized(value: Any, kind: str, kept: object) -> None:
    """A value is stored in the form of its type; a datetime becomes its date."""
    taken = validated(value, kind)

    assert taken == kept
    assert type(taken) is type(kept)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        *((value, "text") for value in (5, True, ["a"], {"a": 1}, "\ud800")),
        *((value, "number") for value in (True, "many", "1_000", " 5 ", "٣", "", "NaN", "1e999")),
        *((value, "number") for value in (float("nan"), float("inf"), 10**400)),
        *((value, "boolean") for value in (1, 0, "no", "yes", "TRUE", "")),
        *((value, "date") for value in ("soon", "20210504", "2021-W18-2", "2021-02-30", "2021-05-04x", 1620086400)),
    ],
)
def test_invalid_value_is_rejected(value: Any, kind: str) -> None:
    """A value of another type is rejected, and the reason names the type."""
    with pytest.raises(InvalidValue, match=kind):
        validated(value, kind)


@pytest.mark.parametrize(
    ("value", "display", "shown"),
    [
        (5800, "number", "5,800"),
        (5800, "currency", "$5,800.00"),
        (-5, "currency", "-$5.00"),
        (True, None, "Yes"),
        (False, None, "No"),
        ("2021-05-04", None, "2021-05-04"),
        ("Johnny", None, "Johnny"),
    ],
)
def test_values_are_formatted_for_people(value: Any, display: str | None, shown: str) -> None:
    """Numbers have separators, booleans are words, dates and texts stay."""
    assert formatted(value, display) == shown
