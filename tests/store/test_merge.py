"""Merging calls into a profile."""

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from prosperstack_destination.store.merge import MAX_TRAITS, merge, same_value
from prosperstack_destination.store.models import Stamped, TimedTraits
from prosperstack_destination.store.timed_traits import by_name, by_time

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
calls = st.lists(
    st.tuples(st.dictionaries(st.sampled_from("abc"), json_values, max_size=3), st.integers(0, 4)), max_size=6
)


def merged(contributions: list[tuple[dict[str, JsonValue], int]]) -> dict[str, Stamped]:
    traits: TimedTraits = {}
    for new, at in contributions:
        traits = merge(traits, {at: new}).traits
    return by_name(traits)


@given(calls, st.data())
def test_merge_is_independent_of_order_and_repetition(
    contributions: list[tuple[dict[str, JsonValue], int]], data: st.DataObject
) -> None:
    """Any order and repetition of the same calls gives the same profile."""
    more = st.lists(st.sampled_from(contributions), max_size=4) if contributions else st.just([])
    repeated = data.draw(st.permutations(contributions + data.draw(more)))

    assert set(merged(repeated)) == set(merged(contributions))
    for name, (value, at) in merged(contributions).items():
        other, other_at = merged(repeated)[name]
        assert at == other_at
        assert same_value(value, other)


@given(calls)
def test_the_newest_event_wins(contributions: list[tuple[dict[str, JsonValue], int]]) -> None:
    """Each trait has the latest time that any call gave for it, and a value that was given at that time."""
    for name, (value, at) in merged(contributions).items():
        given_values = [(new[name], when) for new, when in contributions if name in new]
        assert at == max(when for _, when in given_values)
        assert any(same_value(value, each) for each, when in given_values if when == at)


@pytest.mark.parametrize(
    ("known", "new", "at", "expected", "value_changed", "touched"),
    [
        ({}, {"plan": "pro"}, 5, {"plan": ("pro", 5)}, True, True),  # new
        ({"plan": ("pro", 5)}, {"plan": "free"}, 6, {"plan": ("free", 6)}, True, True),  # later
        ({"plan": ("pro", 5)}, {"plan": "free"}, 4, {"plan": ("pro", 5)}, False, False),  # earlier
        ({"plan": ("pro", 5)}, {"plan": "pro"}, 5, {"plan": ("pro", 5)}, False, False),  # repeated
        ({"plan": ("pro", 5)}, {"plan": "pro"}, 6, {"plan": ("pro", 6)}, False, True),  # the same, later
        ({"plan": ("pro", 5)}, {"plan": "zoo"}, 5, {"plan": ("zoo", 5)}, True, True),  # a tie: the greater
        ({"plan": ("zoo", 5)}, {"plan": "pro"}, 5, {"plan": ("zoo", 5)}, False, False),  # a tie: the greater
        ({"n": (1, 5)}, {"n": True}, 6, {"n": (True, 6)}, True, True),  # true is not 1
        ({"plan": ("pro", 5)}, {"plan": None}, 6, {"plan": (None, 6)}, True, True),  # null is a value
    ],
)
def test_merge_cases(
    known: dict[str, Stamped],
    new: dict[str, JsonValue],
    at: int,
    expected: dict[str, Stamped],
    value_changed: bool,
    touched: bool,
) -> None:
    """A known value yields to a later one, and the result says whether a value changed or only its time."""
    result = merge(by_time(known), {at: new})

    assert (by_name(result.traits), result.value_changed, result.touched) == (expected, value_changed, touched)


def test_full_profile_keeps_mapped_traits() -> None:
    """Beyond the bound mapped traits of any age and name stay."""
    mapped = {"zz_name": "Jo", "zz_plan": "pro"}
    many: dict[str, JsonValue] = {f"t{n:04}": n for n in range(MAX_TRAITS + 201)}

    at_once = merge({}, {1: {**many, **mapped}}, mapped.__contains__)
    later = merge({1: mapped}, {2: many}, mapped.__contains__)
    again = merge(later.traits, {2: many}, mapped.__contains__)

    for each in (at_once, later):
        traits = by_name(each.traits)
        assert {name: traits[name][0] for name in mapped} == mapped
        assert (len(traits), each.dropped) == (MAX_TRAITS, 203)
    assert (again.traits, again.value_changed, again.touched) == (later.traits, False, False)


def test_full_profile_drops_the_oldest_traits() -> None:
    """Beyond the bound the oldest traits are dropped, for any order of the calls."""
    old: tuple[dict[str, JsonValue], int] = ({f"old{n:04}": n for n in range(10)}, 1)
    new: tuple[dict[str, JsonValue], int] = ({f"new{n:04}": n for n in range(MAX_TRAITS - 4)}, 2)
    newer: tuple[dict[str, JsonValue], int] = ({"old0009": "again"}, 3)

    profiles = [merged(list(order)) for order in permutations([old, new, newer])]

    assert all(profile == profiles[0] for profile in profiles)
    assert len(profiles[0]) == MAX_TRAITS
    assert profiles[0]["old0009"] == ("again", 3)
    assert [name for name in sorted(profiles[0]) if name.startswith("old")] == [
        "old0000",
        "old0001",
        "old0002",
        "old0009",
    ]
