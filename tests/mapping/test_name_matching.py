"""Normalization and similarity of names."""

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


def test_normalization_ignores_case_spaces_and_underscores() -> None:
    """Names that differ in case, spaces and underscores are equal; other characters count."""
    assert (
        len({normalize(name) for name in ("Last contacted", "last_contacted", "lastContacted", "LAST  CONTACTED")})
        == 1
    )
    assert normalize("last-contacted") != normalize("last_contacted")


def test_misspelt_name_finds_the_most_similar() -> None:
    """A misspelt name finds the intended one; a dissimilar one finds none."""
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
    """The form of a name and the order of its words do not reduce its similarity."""
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
def test_new_property_gets_key_and_name(name: str, key: str, shown: str) -> None:
    """A property for a trait gets the key that ProsperStack makes of its name, and a readable name."""
    assert property_key(name) == key
    assert property_name(name) == shown


@given(st.text())
def test_key_has_only_valid_characters(name: str) -> None:
    """Any trait gives a key of at most 100 lower-case letters, digits and underscores."""
    key = property_key(name)

    assert len(key) <= 100
    assert all(character in "abcdefghijklmnopqrstuvwxyz0123456789_" for character in key)
