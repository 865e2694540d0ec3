"""The rules of an account."""

import pytest
from pydantic import ValidationError

from prosperstack_destination.mapping.rules import Rule, Rules, unknown_properties


def test_two_rules_for_a_property_are_refused() -> None:
    """A property has at most one rule, or nobody could tell which trait feeds it."""
    rule = {"property": "plan", "trait": "a"}

    with pytest.raises(ValidationError, match="two rules feed the property 'plan'"):
        Rules.model_validate({"rules": [rule, {**rule, "trait": "b"}]})


@pytest.mark.parametrize(
    "rule",
    [{"property": "plan"}, {"property": "", "trait": "x"}, {"property": "a", "trait": "b", "frm": "c"}],
)
def test_a_rule_that_is_none_is_refused(rule: dict[str, str]) -> None:
    """A rule has a property and a trait, and nothing that is misspelt."""
    with pytest.raises(ValidationError):
        Rules.model_validate({"rules": [rule]})


def test_unknown_properties_are_told() -> None:
    """Rules for properties that the account does not have can be listed."""
    rules = Rules(rules=(Rule(property="plan", trait="a"), Rule(property="seats", trait="b")))

    assert list(unknown_properties(rules, ["seats"])) == ["plan"]
