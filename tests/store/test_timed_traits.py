"""Traits by event time, and their stored form."""

import json

from hypothesis import given
from hypothesis import strategies as st

from prosperstack_destination.store.models import Stamped
from prosperstack_destination.store.timed_traits import (
    by_name,
    by_time,
    dump_traits,
    find_trait,
    load_traits,
    load_values,
)

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts | st.just("5"), inner, max_size=2),
    max_leaves=4,
)
stamped = st.dictionaries(texts | st.just("5"), st.tuples(values, st.integers(0, 4)), max_size=8)


@given(stamped)
def test_stored_traits_can_be_loaded(traits: dict[str, Stamped]) -> None:
    """Traits with their times are the same after they were stored."""
    text = dump_traits(by_time(traits))

    assert by_name(load_traits(text)) == traits
    assert all(find_trait(load_traits(text), name) == traits[name] for name in traits)
    assert load_values(text) == {name: value for name, (value, _) in traits.items()}


@given(stamped)
def test_earlier_form_can_be_loaded(traits: dict[str, Stamped]) -> None:
    """Profiles stored by an earlier version are read, for any names of traits."""
    text = json.dumps({name: [value, at] for name, (value, at) in traits.items()})

    assert by_name(load_traits(text)) == traits
    assert load_values(text) == {name: value for name, (value, _) in traits.items()}


def test_time_is_stored_once() -> None:
    """The traits of one call share their time."""
    text = dump_traits(by_time({"plan": ("pro", 5), "seats": (3, 5), "name": ("Jane", 4)}))

    assert json.loads(text) == {"5": {"plan": "pro", "seats": 3}, "4": {"name": "Jane"}}
