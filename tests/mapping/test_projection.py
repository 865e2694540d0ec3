"""From traits to desired properties."""

from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from prosperstack_destination.mapping.catalog import Catalog, Property, PropertyType
from prosperstack_destination.mapping.projection import Desired, MatchedBy, Problem, project
from prosperstack_destination.mapping.rules import Rule, Rules

CATALOG = Catalog(
    [
        Property("number_of_contacts", "Number of contacts", PropertyType.NUMBER),
        Property("is_professional", "Is professional", PropertyType.BOOLEAN),
        Property("last_contacted", "Last contacted", PropertyType.DATE),
        Property("preferred_name", "Preferred name", PropertyType.TEXT),
    ]
)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
trait_names = st.sampled_from(["number_of_contacts", "Is professional", "last_contacted", "x"]) | st.text()


def test_the_documented_example_needs_no_rule() -> None:
    """The four traits of ProsperStack's documentation match the names of its four properties."""
    traits: dict[str, JsonValue] = {
        "email": "john.doe@example.com",
        "Number of contacts": 5800,
        "Is professional": True,
        "Last contacted": "2021-05-04",
        "Preferred name": "Johnny",
    }

    projection = project(traits, CATALOG)

    assert projection.values() == {
        "number_of_contacts": 5800,
        "is_professional": True,
        "last_contacted": "2021-05-04",
        "preferred_name": "Johnny",
    }
    assert projection.problems == ()


def test_the_key_goes_before_the_name() -> None:
    """Where one trait has the property's key and another its name, the key's is taken."""
    projection = project({"Preferred name": "by name", "preferred_name": "by key"}, CATALOG)

    assert projection.desired == {"preferred_name": Desired("by key", "preferred_name", MatchedBy.KEY)}


def test_a_rule_replaces_the_match_of_names() -> None:
    """A property with a rule takes its trait, and no other where that trait is missing."""
    rules = Rules(rules=(Rule(property="preferred_name", trait="nickname"),))

    fed = project({"nickname": "Jo", "preferred_name": "John"}, CATALOG, rules)
    unfed = project({"preferred_name": "John"}, CATALOG, rules)

    assert fed.desired == {"preferred_name": Desired("Jo", "nickname", MatchedBy.RULE)}
    assert unfed.desired == {}


def test_names_match_exactly() -> None:
    """Case and spaces count in the names of traits."""
    assert project({"preferred name": "x", "Preferred_Name": "y"}, CATALOG).desired == {}


def test_null_is_desired_too() -> None:
    """A trait that is null deletes the property's value, also before a trait of the property's name."""
    projection = project({"preferred_name": None, "Preferred name": "Johnny"}, CATALOG)

    assert projection.values() == {"preferred_name": None}


def test_a_problem_stops_nothing_else() -> None:
    """What cannot be coerced is a problem with trait, value and reason; the rest is desired."""
    projection = project({"number_of_contacts": "many", "preferred_name": "Jo"}, CATALOG)

    assert projection.values() == {"preferred_name": "Jo"}
    assert projection.problems == (
        Problem(
            "number_of_contacts",
            "number_of_contacts",
            "many",
            "the text is not a number (number_of_contacts is a number property)",
        ),
    )


@given(st.dictionaries(trait_names, json_values))
def test_projection_is_total_and_deterministic(traits: dict[str, JsonValue]) -> None:
    """Any traits whatever give values or problems, each property at most once, and the same every time."""
    projection = project(traits, CATALOG)

    assert repr(projection) == repr(project(traits, CATALOG))  # by text, for NaN is not itself
    assert projection.desired.keys().isdisjoint(each.property for each in projection.problems)
    assert all(each.trait in traits for each in projection.desired.values())
