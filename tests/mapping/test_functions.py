"""Functions of expressions, and their table in the documentation."""

import json
import re
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from prosperstack_destination.mapping.coercion import CoercionError
from prosperstack_destination.mapping.expression_runner import EvaluationError, ExpressionRunner, MappingInput
from prosperstack_destination.mapping.expressions import InvalidExpression, compile_expression
from prosperstack_destination.mapping.functions import FUNCTIONS, FunctionContext
from support.json_values import json_values

REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "mapping-file.md"
#: Noon of the last day of 2026, UTC.
NOON = 1_798_718_400_000_000
_ROW = re.compile(r"^\| `(\w+)\([^`]*\)` \| .* \| (.+) \| `+ ?(.*?) ?`+ \|$")


def evaluate(text: str, traits: dict[str, JsonValue] | None = None) -> Any:
    """Return the value of an expression at noon of 2026-12-31."""
    profile = MappingInput(traits or {})
    context = FunctionContext(NOON, secret=b"secret")
    return ExpressionRunner(profile.context, functions=lambda: context).value(compile_expression(text))


def _code(cell: str) -> str:
    """Return the text of inline code, which may contain backticks between two of them."""
    return cell[2:-2] if cell.startswith("``") else cell.strip("`")


def documented() -> list[tuple[str, str, str]]:
    """Return name, example and result of each row of the documentation's table."""
    rows = (_ROW.match(line) for line in REFERENCE.read_text().splitlines())
    found = [(row[1], _code(row[2]), row[3]) for row in rows if row]
    assert found
    return found


@pytest.mark.parametrize(("name", "example", "result"), documented())
def test_example_in_the_documentation_gives_its_result(name: str, example: str, result: str) -> None:
    """Each example in the table of functions gives the documented result."""
    assert f"{name}(" in example
    assert evaluate(example) == json.loads(result)


def test_documentation_has_all_functions() -> None:
    """The table of functions in the documentation lists each function once."""
    assert sorted(name for name, _, _ in documented()) == sorted(FUNCTIONS)


@pytest.mark.parametrize(
    "text",
    [
        "lower(traits.x)",
        "replace(traits.x, 'a', 'b')",
        "add(traits.x, `1`)",
        "days_since(traits.x)",
        "parse_number(traits.x)",
        "hash(traits.x)",
        "mask(traits.x)",
        "concat(traits.x, traits.y)",
        "if(traits.x, 'a')",
        "coalesce(traits.x, traits.y)",
    ],
)
def test_missing_value_gives_null(text: str) -> None:
    """A function of a missing value gives null, and never fails."""
    assert evaluate(text) is None


@pytest.mark.parametrize(
    ("text", "traits", "message"),
    [
        ("divide(traits.a, traits.b)", {"a": 1, "b": 0}, r"divide\(\): a number cannot be divided by zero"),
        ("add(traits.a, `1`)", {"a": "x"}, r"add\(\): the text is not a number"),
        ("lower(traits.a)", {"a": ["x"]}, r"lower\(\): it takes text, not an array"),
        ("days_since(traits.a)", {"a": "soon"}, r"days_since\(\): the text is not an ISO 8601 date"),
        ("date_add(traits.a, `9999`, 'years')", {"a": "2026-01-01"}, "after the year 9999"),
        ("from_json(traits.a)", {"a": "{"}, "the text is not JSON"),
        ("parse_number(traits.a)", {"a": "1.2.3,4,5"}, "do not make a number"),
        ("yes_no(traits.a)", {"a": "perhaps"}, "neither yes nor no"),
        ("regex_extract(traits.a, traits.b)", {"a": "x", "b": "("}, "not valid in RE2"),
        ("pad_left(traits.a, `100000`)", {"a": "x"}, "the text would be too long"),
    ],
)
def test_wrong_value_is_an_error_with_its_reason(text: str, traits: dict[str, JsonValue], message: str) -> None:
    """A value that a function cannot take gives an error that names the function and the reason."""
    with pytest.raises(EvaluationError, match=message):
        evaluate(text, traits)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("regex_match(traits.a, '(?=x)')", "regex_match(): the regular expression is not valid in RE2"),
        ("format_date(traits.a, 'DD.MM.YYYY')", "write the parts of a date with %, e.g. %d.%m.%Y"),
        ("hash(traits.a, 'sha')", "there is no hash 'sha': write sha256, hmac, sha1, md5"),
        ("date_add(traits.a, `1`, 'fortnights')", "there is no unit 'fortnights': write months"),
        ("parse_number(traits.a, 'german')", "there is no locale 'german'"),
        ("if(traits.a)", "if() takes 2 to 3 arguments, not 1"),
        ("uper(traits.a)", "did you mean upper"),
    ],
)  # fmt: skip
def test_wrong_literal_is_refused_with_the_expression(text: str, message: str) -> None:
    """An argument in the expression itself that can never be right is refused when it is compiled."""
    with pytest.raises(InvalidExpression) as error:
        compile_expression(text)
    assert message in str(error.value)


@given(st.sampled_from(sorted(FUNCTIONS)), st.lists(json_values, min_size=1, max_size=4))
def test_functions_are_total(name: str, arguments: list[JsonValue]) -> None:
    """A function gives a value or an error of its own for any arguments."""
    function = FUNCTIONS[name]
    given_ = arguments[: function.most or 4]
    if len(given_) < function.least or name in ("if", "coalesce"):
        return
    with suppress(CoercionError):
        function.call(FunctionContext(NOON), given_)


@pytest.mark.parametrize(
    "text",
    [
        "regex_match(traits.long, '(x+x+)+y')",
        "regex_replace(traits.long, 'x', 'yyyyyyyyyyyyyyyyyyyyyyyyyyyyyy')",
        "replace(replace(replace(traits.long, 'x', 'xxxxx'), 'x', 'xxxxx'), 'x', 'xxxxx')",
        "concat(traits.long, traits.long, traits.long, traits.long) | [@, @, @] | [@, @, @] | to_json(@)",
        "split(traits.long, '') | [@, @, @, @] | [@, @, @, @] | [@, @, @, @] | to_json(@)",
        "map(&regex_match(traits.long, '(a|x)*(b|x)*(c|x)*y'), traits.many)",
        "map(&days_since(@), traits.many)",
        "map(&multiply(`1e300`, `1e300`, @), traits.many)",
        "regex_match(traits.long, '((((x{1,9}){1,9}){1,9}){1,9})')",
        "pad_left(pad_left('x', `60000`), `60000`) | [@, @, @, @] | [@, @, @, @] | to_json(@)",
    ],
)
def test_costly_expression_ends_soon(text: str) -> None:
    """An expression whose work explodes ends within a fraction of a second, with a value or an error."""
    traits: dict[str, JsonValue] = {"long": "x" * 30_000, "many": ["2026-01-01"] * 2_000}
    began = time.process_time()
    with suppress(EvaluationError, InvalidExpression):
        assert len(json.dumps(evaluate(text, traits))) <= 64 * 1024
    assert time.process_time() - began < 1.0


def test_length_limit_of_replace_counts_only_what_is_replaced() -> None:
    """A replacement that a count limits is refused only if its own result is too long."""
    long: dict[str, JsonValue] = {"long": "x" * 60_000}

    assert len(evaluate("replace(traits.long, 'x', 'xx', `10`)", long)) == 60_010
    assert evaluate("replace(traits.long, 'x', 'yy', `0`)", long) == "x" * 60_000
    with pytest.raises(EvaluationError, match="too long"):
        evaluate("replace(traits.long, 'x', 'xx', `10000`)", long)
