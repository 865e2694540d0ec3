"""Names that are alike."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prosperstack_destination.mapping.name_matching import (
    closest,
    normalize,
    property_key,
    property_name,
    similarity,
)


def test_what_forgiving_matching_does_not_look_at() -> None:
    """Case, spaces and underscores make no difference; other signs do."""
    assert (
        len({normalize(name) for name in ("Last contacted", "last_contacted", "lastContacted", "LAST  CONTACTED")})
        == 1
    )
    assert normalize("last-contacted") != normalize("last_contacted")


def test_the_nearest_name() -> None:
    """A misspelt name finds the one that is meant; one that is like nothing finds none."""
    known = ["preferred_name", "number_of_contacts", "plan"]

    assert closest("prefered_name", known) == "preferred_name"
    assert closest("zzz", known) is None
    assert closest("x", []) is None


@pytest.mark.parametrize(
    ("trait", "better", "worse"),
    [
        ("contactCount", "Number of contacts", "Preferred name"),
        ("name_preferred", "Preferred name", "Last contacted"),
        ("lastContactedAt", "Last contacted", "Number of contacts"),
    ],
)
def test_names_are_compared_by_their_words(trait: str, better: str, worse: str) -> None:
    """The form of a name and the order of its words do not hide what it means."""
    assert similarity(trait, better) > similarity(trait, worse)


@pytest.mark.parametrize(
    ("name", "key", "shown"),
    [
        ("number_of_contacts", "number_of_contacts", "Number of contacts"),
        ("Number of contacts", "number_of_contacts", "Number of contacts"),
        ("planName", "plan_name", "planName"),
        ("High-value (EU)", "high_value_eu", "High-value (EU)"),
        ("!!!", "", "!!!"),
    ],
)
def test_names_for_new_properties(name: str, key: str, shown: str) -> None:
    """A property that is made for a trait gets the key that ProsperStack would make of it, and a name to read."""
    assert property_key(name) == key
    assert property_name(name) == shown


@given(st.text())
def test_keys_are_keys(name: str) -> None:
    """Whatever a trait is called, the key has only what keys may have."""
    key = property_key(name)

    assert len(key) <= 100
    assert all(each in "abcdefghijklmnopqrstuvwxyz0123456789_" for each in key)
