"""Running expressions to an end."""

import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from prosperstack_destination.mapping.expression_runner import EvaluationError, ExpressionRunner, MappingInput
from prosperstack_destination.mapping.expressions import compile_expression
from prosperstack_destination.store import json_codec
from support.json_values import json_values

PERSON = MappingInput(
    {
        "a": [1, 2, 3],
        "name": "Jo",
        "vip": True,
        "old": False,
        "n": {"x": 0},
        "blank": " ",
        "digits": "5000",
        "texts": ["1", "2"],
    },
    "u1",
    "a1",
)


def run(text: str, person: MappingInput = PERSON) -> JsonValue:
    return ExpressionRunner(lambda: person.context({"vip", "old", "never"})).value(compile_expression(text))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("traits.name", "Jo"),
        ("traits.nobody.there", None),
        ("userId", "u1"),
        ("anonymousId", "a1"),
        ("audiences", ["vip"]),
        ("sum(traits.a)", 6),
        ("traits.a[?@ > `1`] | length(@)", 2),
        ("traits.a[1:]", [2, 3]),
        ("[traits.a, traits.a][]", [1, 2, 3, 1, 2, 3]),
        ("traits.{x: name}", {"x": "Jo"}),
        ("traits.name == 'Jo' && traits.name != 'Ann'", True),
        ("traits.never < `5`", None),
        ("traits.blank < `5`", None),
        ("traits.vip < `5`", None),
        ("traits.name == `5`", False),
        ("to_number(traits.digits) > `5`", True),
        ("'a' < 'b'", True),
        ("`1` == `true`", False),
        ("max_by(traits.a[].{v: @}, &v).v", 3),
        ("to_string(traits.n)", '{"x":0}'),
    ],
)
def test_what_expressions_give(text: str, value: JsonValue) -> None:
    """JMESPath, over what is known of a person."""
    assert run(text) == value


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("sum(traits.huge)", "a number that is too large"),
        ("traits.huge[0]", None),
        ("[sum(traits.huge)]", "a number that is too large"),
        ("to_number(traits.digits)", "a number that is too large"),
        ("join(traits.long, traits.many)", "more than 64 KB"),
    ],
)
def test_what_expressions_give_can_be_stored_and_read(text: str, reason: str | None) -> None:
    """A result is bounded as a call's traits are: text of 64 KB, numbers that JSON's reader takes."""
    person = MappingInput(
        {"huge": [10**4_299 * 9] * 2, "digits": "9" * 5_000, "long": "x" * 4_000, "many": ["a"] * 100}, None, None
    )

    if reason is None:
        assert json_codec.load(json_codec.dump(run(text, person))) == run(text, person)
        return
    with pytest.raises(EvaluationError, match=reason):
        run(text, person)


def test_text_of_an_expression_can_be_stored() -> None:
    """A literal may spell U+0000, and half of a surrogate pair."""
    assert run('join(\'\', [`"a\\u0000"`, `"\\ud800"`])') == "a\ufffd\ufffd"


@pytest.mark.parametrize(
    ("condition", "holds"),
    [("traits.vip", True), ("traits.old", False), ("`0`", True), ("traits.nothing", False), ("`[]`", False)],
)
def test_what_holds(condition: str, holds: bool) -> None:
    """A condition holds where JMESPath takes the value for true: zero is, empty things are not."""
    assert ExpressionRunner(lambda: PERSON.context({"vip"})).is_true(compile_expression(condition)) is holds


@pytest.mark.parametrize(
    "text",
    [
        "traits.digits >= `1000`",
        "`1000` < traits.digits",
        "traits.name < `5`",
        "traits.digits >= `1000` && 'large' || 'small'",
        "length(traits.texts[?@ > `1`])",
    ],
)
def test_text_is_not_compared_as_a_number(text: str) -> None:
    """Text beside a number has no order: the fault is raised, where JMESPath would give null for every answer."""
    with pytest.raises(EvaluationError, match=r"^text is compared as a number: put it into to_number\(\)"):
        run(text)


def test_a_wrong_type_is_told_without_the_value() -> None:
    """What a function cannot take is told by its type: a person's values do not get into reasons."""
    with pytest.raises(EvaluationError, match=r"^sum\(\) takes array-number, not string$"):
        run("sum(traits.name)")


@pytest.mark.parametrize(
    "text",
    [
        " | ".join(["traits", *["[@,@]"] * 30]),
        " | ".join(["traits", *["[@,@][]"] * 30]),
        " | ".join(["traits", *["{a: @, b: @}"] * 30, "to_string(@)"]),
        " | ".join(["traits.name", *["join('', [@,@])"] * 30]),
        " | ".join(["[traits.name]", *["map(&[@,@], @)"] * 30]),
        " | ".join(["traits.big", *["merge(@, {a: @})"] * 30, "to_string(@)"]),
        "traits.big[*][*][*]",
        "traits.big[?length(to_string(@)) > `5`][*].a[] | sort_by(@, &to_string(@))",
        "traits.big" + "[]" * 15,
        "length(to_string([traits, traits, traits, traits, traits, traits])) > `0`",
    ],
)
def test_no_expression_runs_for_long(text: str) -> None:
    """What doubles with every few characters, or runs over everything again and again, is stopped."""
    big: JsonValue = [[["x" * 20, {"a": [1]}] * 20] * 20] * 20
    expression, person = compile_expression(text), MappingInput({"name": "Jo", "big": big})
    begun = time.process_time()
    with suppress(EvaluationError):
        run(expression.text, person)
    assert time.process_time() - begun < 1


def test_text_is_not_made_longer_than_may_be() -> None:
    """What would be joined to an enormous text is stopped before it is made."""
    person = MappingInput({"between": "x" * 60_000, "items": ["y"] * 9_000})

    with pytest.raises(EvaluationError, match="too much work"):
        run("join(traits.between, traits.items)", person)


def test_one_persons_expressions_share_what_they_may_do() -> None:
    """Many rules cannot do together what one may not: the work of all of them counts."""
    evaluation = ExpressionRunner(lambda: {"traits": {"a": list(range(9_000))}})
    expression = compile_expression("traits.a[?@ > `5`] | length(@)")
    assert [evaluation.value(expression) for _ in range(3)] == [8994] * 3
    with pytest.raises(EvaluationError, match="too much work"):
        [evaluation.value(expression) for _ in range(10)]


pieces = st.sampled_from(
    [
        *(
            "traits",
            "traits.a",
            "traits.b[*]",
            "traits.*",
            "audiences",
            "userId",
            "@",
            "[]",
            "[0]",
            "[1:]",
            "[*].x",
        ),
        *("[?@]", "| [@, @]", "| keys(@)", "| length(@)", "| sort(@)", "| to_string(@)", "| sum(@)", "| values(@)"),
        *("|| `1`", "&& 'x'", "== `1`", "< `2`", ".{x: @}", "| reverse(@)", "| to_number(@)", "| max_by(@, &x)"),
    ]
)


@given(st.lists(pieces, max_size=8), st.dictionaries(st.sampled_from(["a", "b", "x"]), json_values))
def test_evaluation_is_total(parts: list[str], traits: dict[str, JsonValue]) -> None:
    """Any expression over any traits gives a value, or the one error that says why there is none."""
    try:
        expression = compile_expression("traits" + " ".join(parts))
    except ValueError:
        return
    with suppress(EvaluationError):
        ExpressionRunner(MappingInput(traits).context).value(expression)


def test_repeated_regex_replace_is_too_much_work() -> None:
    """Replacing each letter of 60 KB again and again ends at the budget; ten times took 15 s."""
    text = "traits.b"
    for _ in range(10):
        text = f"regex_replace({text}, '[ab]', 'b')"

    with pytest.raises(EvaluationError, match="too much work"):
        ExpressionRunner(lambda: {"traits": {"b": "a " * 30_000}}).value(compile_expression(text))
