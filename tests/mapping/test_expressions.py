"""Expressions, looked through before they are run."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prosperstack_destination.mapping.expressions import COMPILED, InvalidExpression, compile_expression


@pytest.mark.parametrize(
    ("text", "traits", "path"),
    [
        ("traits.plan", ("plan",), ("plan",)),
        ('traits."Last contacted"', ("Last contacted",), ("Last contacted",)),
        ("traits.address.city", ("address",), ("address", "city")),
        ("traits.orders[0].total", ("orders",), None),
        ("sum(traits.orders[*].total)", ("orders",), None),
        ("traits.a || traits.b", ("a", "b"), None),
        ("traits | a.b", ("a",), None),
        ("traits.{x: a, y: b}.x", ("a", "b"), None),
        ("join(', ', sort_by(traits.items, &name)[].name)", ("items",), None),
        ("traits.items[?price > `5`] | [0].name", ("items",), None),
        ("contains(audiences, 'vip')", (), None),
        ("userId", (), None),
        ("keys(traits)", (), None),
    ],
)
def test_the_traits_that_are_named(text: str, traits: tuple[str, ...], path: tuple[str, ...] | None) -> None:
    """The traits that feed an expression can be told without running it, and plain paths are known as such."""
    expression = compile_expression(text)

    assert (expression.traits, expression.path) == (traits, path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        ("traits.", "something is missing at its end"),
        ("traits.last contacted", "a name with spaces is written in quotes"),
        ("traits.a ==", "something is missing"),
        ("traits.a = 'x'", "Unknown token '='"),
        ("traits.'x'", "is not expected at character 8"),
        ("plan", "the trait 'plan' is traits.plan"),
        ('"Last contacted"', 'is traits."Last contacted"'),
        ("trait.plan", "did you mean traits.plan?"),
        ("userid", "did you mean userId?"),
        ("lenght(traits.a)", "there is no function lenght(): did you mean length()?"),
        ("length(traits.a, traits.b)", "length() takes 1 argument, not 2"),
        ("not_null()", "at least 1 argument, not 0"),
        ("&traits.a", "& belongs before an argument of map"),
        ("!traits.a", "put what it negates in brackets, as in !(traits.vip)"),
        ("length(&traits.a)", "& belongs before an argument of map"),
        ("traits." + "a" * 1000, "may have 1,000 characters"),
        ("(" * 400 + "traits" + ")" * 400, "nested more than 40 deep"),
        ("!" * 60 + "traits", "nested more than 40 deep"),
        ("`" + "[" * 990, "nested more than 40 deep"),
        ('`"a`', "no JMESPath"),
        ("traits[" + "9" * 990 + "]", None),
    ],
)
def test_what_is_no_expression(text: str, said: str | None) -> None:
    """What could never be run is refused, with the place or with what would be right."""
    if said is None:
        compile_expression(text)
        return
    with pytest.raises(InvalidExpression) as refused:
        compile_expression(text)
    assert said in str(refused.value)


@given(st.text(alphabet="traisuedI.*[]{}()'\"`|&!<>=?:,@- 0123456789\\", max_size=60))
def test_any_text_is_an_expression_or_is_refused(text: str) -> None:
    """Whatever is written gives an expression, or the one error that tells why not."""
    with suppress(InvalidExpression):
        compile_expression(text)


def test_expressions_are_compiled_once_and_not_kept_for_ever() -> None:
    """The same text is the same expression; the cache has a bound."""
    assert compile_expression("traits.once") is compile_expression("traits.once")
    assert compile_expression.cache_info().maxsize == COMPILED
