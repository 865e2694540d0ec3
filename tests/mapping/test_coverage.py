"""What feeds what."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from prosperstack_destination.mapping.catalog import Catalog, Property, PropertyType
from prosperstack_destination.mapping.compiled_mapping import CompiledMapping
from prosperstack_destination.mapping.coverage import (
    MAX_TRAITS,
    Coverage,
    PropertyCoverage,
    TraitCoverage,
    infer_type,
)
from prosperstack_destination.mapping.expression_runner import MappingInput
from prosperstack_destination.mapping.rules import Rules
from support.json_values import json_values

CATALOG = Catalog(
    [
        Property("number_of_contacts", "Number of contacts", PropertyType.NUMBER),
        Property("last_contacted", "Last contacted", PropertyType.DATE),
        Property("plan", "Plan", PropertyType.TEXT),
        Property("nickname", "Nickname", PropertyType.TEXT),
    ]
)
RULES = Rules.model_validate(
    {
        "rules": [
            {"property": "plan", "from": "traits.subscription.tier"},
            {"property": "nickname", "ignore": True},
            {"property": "subscription.seats", "from": "traits.seats"},
        ]
    }
)


def counted(
    *people: Mapping[str, tuple[JsonValue, int]],
) -> tuple[dict[str, PropertyCoverage], dict[str, TraitCoverage]]:
    seats = Catalog([Property("seats", "Seats", PropertyType.NUMBER)])
    coverage = Coverage(CompiledMapping(CATALOG, RULES, subscription=seats, audiences={"vip"}))
    for traits in people:
        coverage.count(traits, MappingInput({name: value for name, (value, _) in traits.items()}))
    properties = {each.property: each for each in coverage.properties()}
    return properties, {each.trait: each for each in coverage.traits()}


def test_coverage() -> None:
    """Of a property: what feeds it, how many have a value, the newest, the problems. Of a trait: where it goes."""
    properties, traits = counted(
        {"Number of contacts": (5, 1), "subscription": ({"tier": "pro"}, 3), "contactsNumber": (1, 1)},
        {"number_of_contacts": (7, 2), "subscription": ({"tier": "free"}, 2), "vip": (True, 1), "seats": (3, 1)},
        {"Number of contacts": ("many", 9), "contactsNumber": (2, 5), "subscription": ({}, 9)},
    )

    contacts = properties["number_of_contacts"]
    assert contacts.fed_by == (("Number of contacts", "name"), ("number_of_contacts", "key"))
    assert (contacts.filled, contacts.problems, contacts.sample) == (2, 1, 7)
    assert (properties["plan"].fed_by, properties["plan"].filled) == ((("traits.subscription.tier", "rule"),), 2)
    assert properties["plan"].sample == "pro"
    assert (properties["last_contacted"].fed_by, properties["last_contacted"].sample) == ((), None)
    assert properties["nickname"].ignored
    assert (properties["subscription.seats"].filled, properties["subscription.seats"].sample) == (1, 3)

    assert (traits["subscription"].feeds, traits["subscription"].seen) == (("plan",), 3)
    assert traits["Number of contacts"].feeds == ("number_of_contacts",)
    loose = traits["contactsNumber"]
    assert (loose.feeds, loose.likeliest, loose.type, loose.sample) == ((), "number_of_contacts", "number", 2)
    assert loose.alike > 60
    assert (traits["vip"].audience, traits["vip"].likeliest, traits["vip"].type) == (True, None, "boolean")


def test_the_most_frequent_traits_come_first() -> None:
    """Traits are listed by how many people have them."""
    _, traits = counted({"b": (1, 1), "a": (1, 1)}, {"b": (1, 1)}, {"c": (1, 1)})

    assert list(traits) == ["b", "a", "c"]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([True, False], "boolean"),
        ([1, 2.5], "number"),
        ([True, 1], "text"),
        (["2021-05-04", "2021-05-04T10:00:00Z"], "date"),
        (["2021-05-04", "soon"], "text"),
        (["2021-13-99"], "text"),
        (["2021", "5"], "text"),
        ([[1], "x"], None),
        ([{}], None),
        ([None, "", 5], "number"),
        ([None], None),
    ],
)
def test_the_type_is_guessed_from_the_values(values: list[JsonValue], kind: str | None) -> None:
    """A property for a trait would have the type that takes every value that was seen."""
    _, traits = counted(*({"x": (value, 1)} for value in values))

    assert traits["x"].type == kind


def test_made_up_names_do_not_fill_the_memory() -> None:
    """Past a number of traits new names are not told apart."""
    _, traits = counted(*({f"t{number}": (1, 1)} for number in range(MAX_TRAITS + 5)))

    assert len(traits) == MAX_TRAITS


@given(
    st.lists(
        st.dictionaries(st.text(max_size=5), st.tuples(json_values, st.integers(0, 9)), max_size=3), max_size=3
    )
)
def test_coverage_is_total(people: list[dict[str, tuple[JsonValue, int]]]) -> None:
    """Whatever traits there are, they are counted."""
    _, traits = counted(*people)

    assert sum(each.seen for each in traits.values()) == sum(map(len, people))


@given(json_values)
def test_a_type_takes_the_value(value: JsonValue) -> None:
    """Only arrays and objects are of no property's type."""
    assert (infer_type(value) is None) == (value is None or isinstance(value, dict | list))
