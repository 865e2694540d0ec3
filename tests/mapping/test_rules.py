"""The rules of an account."""

from typing import Any

import pytest
from pydantic import ValidationError

from prosperstack_destination.mapping.rules import Rule, Rules, dump_rules, load_rules, unknown_properties


def test_two_rules_for_a_property_are_refused() -> None:
    """A property has at most one rule, so that one trait feeds it."""
    rule = {"property": "plan", "trait": "a"}

    with pytest.raises(ValidationError, match="two rules feed the property 'plan'"):
        Rules.model_validate({"rules": [rule, {**rule, "trait": "b"}]})


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"property": "plan"}, "the rule has no source"),
        ({"property": "", "trait": "x"}, "at least 1 character"),
        ({"property": "a", "trait": "b", "frm": "c"}, "Extra inputs"),
        ({"property": "a", "trait": "b", "from": "traits.c"}, "from and trait are both in the rule"),
        ({"property": "a", "from": "plan"}, "the trait 'plan' is traits.plan"),
        ({"property": "a", "first_of": ["traits.a", "b"]}, "the trait 'b' is traits.b"),
        ({"property": "a", "first_of": []}, "at least 1 item"),
        ({"property": "a", "from": "traits.a", "when": "traits."}, "something is missing at its end"),
        ({"property": "a", "ignore": True, "from": "traits.a"}, "remove the other keys of its rule"),
        ({"property": "a", "from": "traits.a", "fallback": 1}, "fallback is for values that the table lacks"),
        ({"property": "a", "from": "traits.a", "trim": True, "clean": ["lower"]}, "put all transforms into clean"),
        ({"property": "a", "from": "traits.a", "round": "x"}, "valid integer"),
        ({"property": "a", "from": "traits.a", "clean": [{"scale": None}]}, "scale has no value"),
        ({"property": "a", "from": "traits.a", "values": {"x": [1]}}, "valid"),
        ({"property": "a", "from": ["traits.a"]}, "valid string"),
    ],
)
def test_invalid_rule_is_refused_with_a_correction(rule: dict[str, Any], message: str) -> None:
    """The error for an invalid rule says what to change."""
    with pytest.raises(ValidationError) as error:
        Rules.model_validate({"rules": [rule]})
    assert message in str(error.value)


def test_transforms_in_the_rule_run_in_written_order() -> None:
    """Transforms that are keys of the rule equal those of ``clean`` in the same order."""
    short = Rule.model_validate({"property": "a", "from": "traits.a", "scale": 0.01, "round": 0, "trim": False})

    assert [each.name for each in short.clean] == ["scale", "round"]
    assert (
        short.clean
        == Rule.model_validate(
            {"property": "a", "from": "traits.a", "clean": [{"scale": 0.01}, {"round": 0}]}
        ).clean
    )


def test_stored_rules_are_unchanged() -> None:
    """Rules are equal after storing and loading, also in the form of the first version."""
    rules = Rules.model_validate(
        {
            "forgiving_names": True,
            "create_missing": "audiences",
            "rules": [
                {"property": "a", "from": "traits.a", "lower": True, "values": {"x": True}, "fallback": None},
                {"property": "subscription.seats", "first_of": ["traits.b", "traits.c"], "default": 0},
                {"property": "c", "ignore": True},
            ],
        }
    )

    assert load_rules(dump_rules(rules)) == rules
    assert load_rules(dump_rules(rules)).rules[0].has_fallback
    assert rules.for_subscriptions
    assert load_rules('{"rules":[{"property":"a","trait":"b"}]}').rules[0].trait == "b"


def test_unknown_properties_are_told() -> None:
    """Rules for properties that the account does not have can be listed."""
    rules = Rules(rules=(Rule(property="plan", trait="a"), Rule(property="seats", trait="b")))

    assert list(unknown_properties(rules, ["seats"])) == ["plan"]
