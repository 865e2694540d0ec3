"""Tests of rules as the fields of forms."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prosperstack_destination.dashboard.rule_form import (
    InvalidRule,
    RuleFields,
    RuleKind,
    fields_from_form,
    fields_of,
    read,
    read_name,
    written,
    written_name,
)
from prosperstack_destination.mapping.rules import Rule
from support.mapping_rules import RULES, TEXTS


def as_sent(fields: RuleFields) -> dict[str, str]:
    """What a browser makes of the fields: it changes line breaks, and knows no zero."""
    sent = {
        "rule-property": fields.target,
        "rule-kind": fields.kind,
        "rule-trait": fields.trait,
        "rule-expression": fields.expression,
        "rule-first_of": fields.first_of,
        "rule-when": fields.when,
        "rule-values": fields.values,
        "rule-fallback": fields.fallback,
        "rule-default": fields.default,
    }
    for number, (name, argument) in enumerate(fields.clean):
        sent |= {f"rule-clean-{number}": name, f"rule-argument-{number}": argument}
    return {name: text.replace("\n", "\r\n").replace("\x00", "\ufffd") for name, text in sent.items()}


@given(RULES)
def test_a_rule_comes_back_as_it_was(rule: dict[str, Any]) -> None:
    """The fields of any rule, through any browser, make the same rule again."""
    known = Rule.model_validate(rule)
    fields = fields_of(known)
    sent = fields_from_form(as_sent(fields))

    assert (sent, sent.mark) == (fields, fields.mark)
    assert Rule.model_validate(sent.rule()).model_dump_json() == known.model_dump_json()


@given(st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), TEXTS))
def test_a_value_comes_back_as_it_was(value: Any) -> None:
    """Any value is one again, of its type."""
    assert (read(written(value)), type(read(written(value)))) == (value, type(value))


@given(TEXTS, st.text(max_size=20))
def test_any_text_is_a_name(name: str, field: str) -> None:
    """A name is a name again, whatever signs it has; and any field is some name, some value."""
    assert read_name(written_name(name)) == name
    assert isinstance(read_name(field), str)
    assert not isinstance(read(field), dict | list)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("pro", "pro"),
        (" 5 ", 5),
        ("0.5", 0.5),
        ("true", True),
        ("null", None),
        ('"5"', "5"),
        ("NaN", "NaN"),
        ("1e999999", "1e999999"),
        ("[1]", "[1]"),
        ("[" * 100_000, "[" * 100_000),
        ('"\\ud800"', '"\\ud800"'),
        ("", ""),
    ],
)
def test_what_a_field_says(field: str, value: Any) -> None:
    """Numbers, true, false and null are what they look like, unless they are in quotes; the rest is text."""
    assert read(field) == value


def test_a_form_of_a_rule() -> None:
    """Fields become the rule that somebody would write by hand."""
    fields = RuleFields(
        target="plan",
        kind=RuleKind.FIRST_OF,
        trait="of another kind",
        first_of="traits.a\n\n traits.b ",
        clean=(("trim", "ignored"), ("round", ""), ("scale", "0.01"), ("join", '" / "')),
        values='pro = 1\n"a = b" = x = y\n "not closed = 3\nempty =',
        fallback="null",
        default=" ",
    )

    assert fields.rule() == {
        "property": "plan",
        "first_of": ["traits.a", "traits.b"],
        "clean": ["trim", "round", {"scale": 0.01}, {"join": " / "}],
        "values": {"pro": 1, "a = b": "x = y", '"not closed': 3, "empty": ""},
        "fallback": None,
    }
    assert RuleFields(target="a", kind=RuleKind.IGNORE, default="5").rule() == {"property": "a", "ignore": True}
    assert fields_from_form({"rule-kind": "nonsense"}) == RuleFields()


@pytest.mark.parametrize(
    ("fields", "said"),
    [(RuleFields(), "Choose the property"), (RuleFields(target="a", values="no equals sign"), "'no equals sign'")],
)
def test_what_makes_no_rule(fields: RuleFields, said: str) -> None:
    """What is missing in the fields, or cannot be read, is told."""
    with pytest.raises(InvalidRule, match=said):
        fields.rule()
