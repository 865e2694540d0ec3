"""From traits to desired properties."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from prosperstack_destination.mapping.catalog import Catalog, Property, PropertyType
from prosperstack_destination.mapping.compiled_mapping import (
    CompiledMapping,
    DesiredValue,
    MappingProblem,
    MatchedBy,
    Projection,
    project,
)
from prosperstack_destination.mapping.expression_runner import MappingInput
from prosperstack_destination.mapping.projection import differing_keys
from prosperstack_destination.mapping.rules import Rule, Rules
from support.json_values import json_values

CATALOG = Catalog(
    [
        Property("number_of_contacts", "Number of contacts", PropertyType.NUMBER),
        Property("is_professional", "Is professional", PropertyType.BOOLEAN),
        Property("last_contacted", "Last contacted", PropertyType.DATE),
        Property("preferred_name", "Preferred name", PropertyType.TEXT),
    ]
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

    assert projection.desired == {"preferred_name": DesiredValue("by key", "preferred_name", MatchedBy.KEY)}


def test_a_rule_replaces_the_match_of_names() -> None:
    """A property with a rule takes its trait, and no other where that trait is missing."""
    rules = Rules(rules=(Rule(property="preferred_name", trait="nickname"),))

    fed = project({"nickname": "Jo", "preferred_name": "John"}, CATALOG, rules)
    unfed = project({"preferred_name": "John"}, CATALOG, rules)

    assert fed.desired == {"preferred_name": DesiredValue("Jo", "nickname", MatchedBy.RULE, ("nickname",))}
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
        MappingProblem(
            "number_of_contacts",
            "number_of_contacts",
            "many",
            "the text is not a number (number_of_contacts is a number property)",
        ),
    )


def mapped(traits: dict[str, JsonValue], rule: dict[str, Any], **whole: Any) -> Projection:
    """What one rule for preferred_name makes of traits."""
    rules = Rules.model_validate({"rules": [{"property": "preferred_name", **rule}], **whole})
    return CompiledMapping(CATALOG, rules, audiences={"vip"}).project(MappingInput(traits, "u1", "a1"))


TRAITS: dict[str, JsonValue] = {
    "plan": " Pro ",
    "address": {"city": "Berlin"},
    "tags": ["a", "b"],
    "cents": 1999,
    "gone": None,
    "blank": "  ",
    "none": [],
    "vip": True,
}


@pytest.mark.parametrize(
    ("rule", "value"),
    [
        ({"from": "traits.address.city"}, "Berlin"),
        ({"from": "traits.address.street"}, None),
        ({"from": "traits.gone"}, None),
        ({"from": "traits.blank", "trim": True}, None),
        ({"from": "traits.blank", "trim": True, "default": "none"}, "none"),
        ({"from": "traits.never", "default": "none"}, "none"),
        ({"default": "all"}, "all"),
        ({"from": "userId"}, "u1"),
        ({"from": "anonymousId", "upper": True}, "A1"),
        ({"from": "audiences", "join": True}, "vip"),
        ({"from": "traits.plan", "trim": True, "lower": True, "values": {"pro": "Professional"}}, "Professional"),
        ({"from": "traits.plan", "values": {"pro": "Professional"}, "fallback": "Other"}, "Other"),
        ({"from": "traits.plan", "values": {"pro": "Professional"}, "fallback": None}, None),
        ({"from": "traits.plan", "values": {"pro": "Professional"}, "fallback": "keep"}, " Pro "),
        ({"from": "traits.vip", "values": {"yes": True}, "fallback": "keep"}, "true"),
        ({"from": "traits.vip", "values": {"true": "Yes", "false": "No"}}, "Yes"),
        ({"from": "traits.cents", "scale": 0.01}, "19.99"),
        ({"first_of": ["traits.never", "traits.gone", "traits.plan"], "trim": True}, "Pro"),
        ({"first_of": ["traits.never", "traits.gone"]}, None),
        ({"first_of": ["traits.blank", "traits.plan"], "trim": True}, "Pro"),
        ({"first_of": ["traits.blank", "traits.plan"]}, " Pro "),
        ({"first_of": ["traits.blank", "traits.blank"]}, None),
        ({"first_of": ["traits.none", "traits.tags"], "join": "+"}, "a+b"),
        ({"from": "traits.blank", "default": "none"}, "none"),
        ({"from": "traits.plan", "when": "contains(audiences, 'vip')"}, " Pro "),
        ({"from": "traits.tags", "count": True}, "2"),
    ],
)
def test_what_rules_give(rule: dict[str, Any], value: str | None) -> None:
    """The source, then clean-ups, then the lookup table, then the default."""
    projection = mapped(TRAITS, rule)

    assert projection.problems == ()
    assert projection.values() == {"preferred_name": value}


@pytest.mark.parametrize(
    "rule",
    [
        {"from": "traits.never"},
        {"first_of": ["traits.never", "traits.neither"]},
        {"from": "traits.plan", "when": "traits.gone"},
        {"from": "traits.never", "default": "x", "when": "!(traits.vip)"},
        {"ignore": True},
    ],
)
def test_when_a_rule_says_nothing(rule: dict[str, Any]) -> None:
    """Where no trait of a rule was ever sent, or its condition does not hold, the property stays as it is."""
    assert mapped({**TRAITS, "preferred_name": "by key"}, rule).desired == {}


@pytest.mark.parametrize(
    ("rule", "value", "reason"),
    [
        ({"from": "traits.tags"}, ["a", "b"], "an array is not a single value"),
        ({"from": "traits.plan", "round": 1}, " Pro ", "round: it cannot be rounded: the text is not a number"),
        (
            {"from": "traits.plan", "values": {"pro": 1}},
            " Pro ",
            "the rule's table (values) lacks it, and the rule has no fallback",
        ),
        ({"from": "traits.tags", "values": {"a": 1}, "fallback": "keep"}, ["a", "b"], "an array is not a single"),
        ({"from": "traits.tags", "values": {"pro": 1}}, ["a", "b"], "values: an array is not a single value"),
        ({"from": "traits.plan > `5`"}, None, "text is compared as a number"),
        ({"from": "traits.cents", "when": "traits.plan > `5`"}, None, "text is compared as a number"),
        ({"from": "sum(traits.tags)"}, None, "sum() takes array-number, not string"),
    ],
)
def test_what_a_rule_cannot_make(rule: dict[str, Any], value: JsonValue, reason: str) -> None:
    """A rule that comes to no value is a problem, with what it started from and why."""
    [problem] = mapped(TRAITS, rule).problems

    assert problem.value == value
    assert problem.reason.startswith(reason)
    assert problem.reason.endswith("(preferred_name is a text property)")


def test_forgiving_names() -> None:
    """Where names are forgiven, case, spaces and underscores do not count; what matches exactly goes before."""
    traits: dict[str, JsonValue] = {"PreferredName": "Jo", "preferred name": "Ann", "Last_Contacted": "2021-05-04"}
    rules = Rules(forgiving_names=True)

    loosely = project(traits, CATALOG, rules)
    exactly = project({**traits, "preferred_name": "Kim"}, CATALOG, rules)

    assert loosely.desired["preferred_name"] == DesiredValue("Jo", "PreferredName", MatchedBy.FORGIVING)
    assert loosely.values()["last_contacted"] == "2021-05-04"
    assert exactly.desired["preferred_name"] == DesiredValue("Kim", "preferred_name", MatchedBy.KEY)
    assert project(traits, CATALOG).desired == {}


def test_a_trait_that_is_another_propertys_is_not_forgiven() -> None:
    """A trait that has exactly the name of one property feeds no other that is only like it."""
    both = Catalog([Property("plan_a", "Plan A", PropertyType.TEXT), Property("plana", "X", PropertyType.TEXT)])

    assert project({"plan_a": "x"}, both, Rules(forgiving_names=True)).values() == {"plan_a": "x"}


def test_properties_of_subscriptions_take_only_rules() -> None:
    """A rule may feed a property of subscriptions; names are not matched to them, and subscribers do not get it."""
    seats = Catalog([Property("seats", "Seats", PropertyType.NUMBER), Property("plan", "Plan", PropertyType.TEXT)])
    rules = Rules.model_validate({"rules": [{"property": "subscription.seats", "from": "traits.seats"}]})
    plan = CompiledMapping(CATALOG, rules, subscription=seats)

    good = plan.project(MappingInput({"seats": "5", "plan": "pro"}))
    bad = plan.project(MappingInput({"seats": "many"}))

    assert (good.values(), good.subscription_values()) == ({}, {"seats": 5})
    assert [each.property for each in bad.problems] == ["subscription.seats"]


@pytest.mark.parametrize(
    ("traits", "value"),
    [
        ({"vip": True, "old": True}, {"preferred_name": "old, vip"}),
        ({"vip": "true", "old": " True "}, {"preferred_name": "old, vip"}),
        ({"vip": False, "old": "true"}, {"preferred_name": "old"}),
        ({"vip": False, "old": "false"}, {"preferred_name": None}),
        ({"vip": None}, {"preferred_name": None}),
        ({"other": True}, {}),
    ],
)
def test_audiences_in_a_rule(traits: dict[str, JsonValue], value: dict[str, str | None]) -> None:
    """The audiences of a member are listed; leaving the last deletes; a person of no audience ever stays as is."""
    rules = Rules.model_validate({"rules": [{"property": "preferred_name", "from": "join(', ', sort(audiences))"}]})

    projection = CompiledMapping(CATALOG, rules, audiences={"vip", "old"}).project(MappingInput(traits))

    assert (projection.values(), projection.problems) == (value, ())


def test_which_traits_a_plan_reads() -> None:
    """What names match, what rules and their conditions name, and audiences; of a switched-off property nothing."""
    rules = Rules.model_validate(
        {
            "rules": [
                {"property": "preferred_name", "from": "traits.nick || traits.name", "when": "traits.known"},
                {"property": "is_professional", "ignore": True},
                {"property": "subscription.seats", "trait": "seats"},
            ]
        }
    )
    plan = CompiledMapping(CATALOG, rules, audiences={"vip"})
    forgiving = CompiledMapping(CATALOG, Rules(forgiving_names=True))

    read = {"Last contacted", "last_contacted", "nick", "name", "known", "seats", "vip"}
    assert {
        name for name in (*read, "is_professional", "Is professional", "lastContacted") if plan.reads(name)
    } == read
    assert forgiving.reads("LastContacted")
    assert not forgiving.reads("seats")


def test_a_rule_over_all_traits_deletes() -> None:
    """A rule that names no trait and looks at all of them deletes its value when none is left for it."""
    rule = {"from": "join(', ', values(traits)[?@ == 'pro'])"}

    assert mapped({"x": "pro"}, rule).values() == {"preferred_name": "pro"}
    assert mapped({"x": "free"}, rule).values() == {"preferred_name": None}
    assert mapped({}, rule).values() == {}


@pytest.mark.parametrize(
    ("contacts", "values"),
    [
        ({"contacts": [{"active": True}, {}]}, {"number_of_contacts": 1}),
        ({"contacts": []}, {"number_of_contacts": 0}),
        ({"contacts": None}, {"number_of_contacts": None}),
        ({}, {}),
    ],
)
def test_a_count_of_an_array_that_became_empty(
    contacts: dict[str, JsonValue], values: dict[str, int | None]
) -> None:
    """The documented count is right for full and for empty arrays."""
    rules = Rules.model_validate(
        {"rules": [{"property": "number_of_contacts", "from": "traits.contacts[?active]", "count": True}]}
    )

    projection = project(contacts, CATALOG, rules)

    assert (projection.values(), projection.problems) == (values, ())


sources = st.sampled_from(
    [
        *("traits.x", "traits.*", "traits.x[0].y", "userId", "length(traits.x)", "traits.x.y.z", "sort(traits.x)"),
        *("to_number(traits.x)", "keys(traits)", "traits.x || traits.last_contacted", "audiences"),
    ]
)
clean_ups = st.lists(
    st.sampled_from(
        ["trim", "title", "round", "join", "count", {"scale": -1e9}, {"date_format": "%H:%M"}, {"timezone": "UTC"}]
    ),
    max_size=3,
)
any_rule = st.fixed_dictionaries(
    {"property": st.sampled_from([each.key for each in CATALOG]), "from": sources, "clean": clean_ups},
    optional={
        "when": sources,
        "values": st.dictionaries(st.text(max_size=2), st.integers() | st.text(), max_size=2),
        "default": st.integers() | st.text() | st.booleans(),
    },
)
any_rules = st.builds(
    lambda rules, forgiving: Rules.model_validate({"rules": rules, "forgiving_names": forgiving}),
    st.lists(any_rule, max_size=4, unique_by=lambda rule: rule["property"]),
    st.booleans(),
)


@given(st.dictionaries(trait_names, json_values), any_rules)
def test_projection_is_total_and_deterministic(traits: dict[str, JsonValue], rules: Rules) -> None:
    """Any traits under any rules give values or problems, each property at most once, and the same every time."""
    person = MappingInput(traits, "u1")
    plan = CompiledMapping(CATALOG, rules, audiences={"x"})
    projection = plan.project(person)

    assert repr(projection) == repr(plan.project(person))  # by text, for NaN is not itself
    assert projection.desired.keys().isdisjoint(each.property for each in projection.problems)
    assert all(each.reason for each in projection.problems)


@given(st.dictionaries(trait_names, json_values))
def test_the_order_of_traits_makes_no_difference(traits: dict[str, JsonValue]) -> None:
    """The same traits in another order give the same."""
    backwards = dict(reversed(traits.items()))
    rules = Rules(forgiving_names=True)

    assert repr(project(traits, CATALOG, rules)) == repr(project(backwards, CATALOG, rules))


@given(st.dictionaries(trait_names, json_values), any_rules, any_rules)
def test_only_where_plans_differ(traits: dict[str, JsonValue], one: Rules, other: Rules) -> None:
    """What two plans make of a person differs just where their parts that differ do."""
    first, second, person = (
        CompiledMapping(CATALOG, one),
        CompiledMapping(CATALOG, other),
        MappingInput(traits, "u1"),
    )
    whole, part = (first, second), first.diff(second)

    def differences(pair: tuple[CompiledMapping, CompiledMapping]) -> set[str]:
        before, after = (plan.project(person) for plan in pair)
        return set(differing_keys(before.desired, after.desired))

    assert differences(whole) == differences(part)
    assert not first.diff(first)[0].steps
