"""Hints for common mistakes in expressions."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from prosperstack_destination.mapping.expression_runner import ExpressionRunner, MappingInput
from prosperstack_destination.mapping.expressions import InvalidExpression, compile_expression

PROFILE = MappingInput(
    {
        "plan": "pro",
        "seats": 9,
        "mrr": "5000",
        "vip": False,
        "first": "Jo",
        "last": "Doe",
        "locale": "de-AT",
        "first-name": "Jo",
        "last contacted": "2026-12-31",
        "Last contacted": "2026-12-31",
        "1st": "first",
        "tags": ["vip", "new"],
        "orders": [{"total": 50, "status": "paid"}, {"total": 150, "status": "open"}],
    },
    "u1",
    "a1",
)

#: Mistake, hint, and value of the hint.
MISTAKES: list[tuple[str, str, JsonValue]] = [
    ("traits.seats > 5", "traits.seats > `5`", True),
    ("traits.seats>=10", "traits.seats>=`10`", False),
    ('traits.seats > 5 and traits.plan == "pro"', "traits.seats > `5` && traits.plan == 'pro'", True),
    ("to_number(traits.mrr) >= 1000.5", "to_number(traits.mrr) >= `1000.5`", True),
    ("traits.orders[?total > 100]", "traits.orders[?total > `100`]", [{"total": 150, "status": "open"}]),
    ('traits.orders[?status = "paid"].total', "traits.orders[?status == 'paid'].total", [50]),
    ('traits.plan == "pro"', "traits.plan == 'pro'", True),
    ('"pro" == traits.plan', "'pro' == traits.plan", True),
    ('join(", ", traits.tags)', "join(', ', traits.tags)", "vip, new"),
    ("traits.plan == \u2018pro\u2019", "traits.plan == 'pro'", True),
    ("traits.nothing || null", "traits.nothing || `null`", None),
    ("traits.vip == true", "traits.vip == `true`", False),
    ("traits.vip != None", "traits.vip != `null`", True),
    ("traits.plan is not null", "traits.plan != `null`", True),
    ("properties.locale", "traits.locale", "de-AT"),
    ("context.traits.plan", "traits.plan", "pro"),
    ("user.plan", "traits.plan", "pro"),
    ("user_id", "userId", "u1"),
    ("traits.first-name", 'traits."first-name"', "Jo"),
    ("traits.last contacted", 'traits."last contacted"', "2026-12-31"),
    ("traits.1st", 'traits."1st"', "first"),
    ("traits['Last contacted']", 'traits."Last contacted"', "2026-12-31"),
    ('traits["plan"] == "pro"', "traits.plan == 'pro'", True),
    ('"Last contacted"', 'traits."Last contacted"', "2026-12-31"),
    ("$.traits.plan", "traits.plan", "pro"),
    ("{{ traits.plan }}", "traits.plan", "pro"),
    ('"traits.plan"', "traits.plan", "pro"),
    ("plan", "traits.plan", "pro"),
    ("trait.plan", "traits.plan", "pro"),
    ("lowercase(traits.plan)", "lower(traits.plan)", "pro"),
    ("traits.plan.toUpperCase()", "upper(traits.plan)", "PRO"),
    ("round(traits.seats, 2)", "round(traits.seats, `2`)", 9),
    ("traits.seats / 100", "divide(traits.seats, `100`)", 0.09),
    ("traits.plan = 'pro'", "traits.plan == 'pro'", True),
    ("traits.plan !== 'pro'", "traits.plan != 'pro'", False),
    ("traits.vip or traits.plan", "traits.vip || traits.plan", "pro"),
    ("not traits.vip", "!(traits.vip)", True),
    ("!traits.vip", "!(traits.vip)", True),
    ("traits.nothing ?? 'x'", "traits.nothing || 'x'", "x"),
    ("traits.vip ? 'yes' : 'no'", "if(traits.vip, 'yes', 'no')", "no"),
    ("traits.first + ' ' + traits.last", "concat(traits.first, ' ', traits.last)", "Jo Doe"),
    ("traits.seats * 0.5", "multiply(traits.seats, `0.5`)", 4.5),
    ("date_diff(traits.x)", "there is no function date_diff()", None),
    ("traits.plan.substr(0, 2)", "substring(traits.plan, `0`, `2`)", "pr"),
    ("traits.seats + traits.seats", "add(traits.seats, traits.seats)", 18),
    ("traits.tags.contains('vip')", "contains(traits.tags, 'vip')", True),
    ("traits.plan in ('pro', 'team')", "contains(['pro', 'team'], traits.plan)", True),
    ("len(traits.tags)", "length(traits.tags)", 2),
    ("nvl(traits.nothing, traits.plan)", "coalesce(traits.nothing, traits.plan)", "pro"),
    ("lenght(traits.tags)", "length()", None),
    ("length(traits.tags", "length(traits.tags)", 2),
    ("traits.plan == 'pro", "traits.plan == 'pro'", True),
]


@pytest.mark.parametrize(("mistake", "hint", "value"), MISTAKES)
def test_hint_is_the_intended_expression(mistake: str, hint: str, value: JsonValue) -> None:
    """The hint for a mistake is a valid expression, and gives the intended value."""
    with pytest.raises(InvalidExpression) as error:
        compile_expression(mistake)

    assert hint in str(error.value)
    if not hint.endswith("()"):
        expression = compile_expression(hint)
        assert ExpressionRunner(lambda: PROFILE.context()).value(expression) == value


def test_missing_trait_is_reported_as_null() -> None:
    """The error for a missing trait says null, and how a condition leaves such profiles out."""
    with pytest.raises(ValueError, match=r"not null: leave out people without the trait by a condition \(when\)"):
        ExpressionRunner(lambda: PROFILE.context()).value(compile_expression("length(traits.nothing)"))


@given(st.text(alphabet="traits.plan'\"`=<>!?&|()[]{}$ 0123+-*/,:", max_size=80))
def test_any_text_compiles_or_is_refused(text: str) -> None:
    """Any text gives an expression or `InvalidExpression`, with or without a hint."""
    with suppress(InvalidExpression):
        compile_expression(text)
