"""Compiled expressions."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prosperstack_destination.mapping.expressions import CACHE_SIZE, InvalidExpression, compile_expression


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
def test_expression_names_its_traits_and_path(
    text: str, traits: tuple[str, ...], path: tuple[str, ...] | None
) -> None:
    """Compiling finds the traits that an expression reads, and its path if it is only a path."""
    expression = compile_expression(text)

    assert (expression.traits, expression.path) == (traits, path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("traits.", "something is missing at its end"),
        ("traits.last contacted", "write a name with spaces in quotes"),
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
        ("&traits.a", "& is only allowed before an argument of map"),
        ("!traits.a", "put the whole path in brackets, e.g. !(traits.vip)"),
        ("length(&traits.a)", "& is only allowed before an argument of map"),
        ("traits." + "a" * 1000, "shorten it to 1,000"),
        ("(" * 400 + "traits" + ")" * 400, "nested more than 40 levels deep"),
        ("!" * 60 + "traits", "nested more than 40 levels deep"),
        ("`" + "[" * 990, "nested more than 40 levels deep"),
        ('`"a`', "is not JMESPath"),
        ("traits[" + "9" * 990 + "]", None),
    ],
)
def test_invalid_expression_is_refused_with_a_correction(text: str, message: str | None) -> None:
    """The error for an invalid expression has the position or a correction."""
    if message is None:
        compile_expression(text)
        return
    with pytest.raises(InvalidExpression) as error:
        compile_expression(text)
    assert message in str(error.value)


@given(st.text(alphabet="traisuedI.*[]{}()'\"`|&!<>=?:,@- 0123456789\\", max_size=60))
def test_any_text_compiles_or_is_refused(text: str) -> None:
    """Any text gives an expression or `InvalidExpression`."""
    with suppress(InvalidExpression):
        compile_expression(text)


def test_compiled_expressions_are_cached_up_to_a_bound() -> None:
    """Compiling a text twice gives one expression; the cache has a bound."""
    assert compile_expression("traits.once") is compile_expression("traits.once")
    assert compile_expression.cache_info().maxsize == CACHE_SIZE
