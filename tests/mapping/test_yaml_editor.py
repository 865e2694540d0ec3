"""Rules put into the text of a file, and taken out."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import JsonValue

from prosperstack_destination.mapping.mapping_file import read_mapping
from prosperstack_destination.mapping.rules import Rule
from prosperstack_destination.mapping.yaml_editor import (
    options_in,
    rule_in,
    with_based_on,
    with_option,
    with_rule,
    without_rule,
)
from prosperstack_destination.mapping.yaml_reader import YamlError, read_yaml
from support.mapping_rules import RULES

TEXT = """\
# what a person wrote
forgiving_names: true   # as in the tool

rules:   # ours
  # the plan's
  - property: plan   # of billing
    from: traits.plan
    trim: true       # they type spaces
    default: free

  # its name
  -   property: name
      first_of:
        - traits.a   # old
        - traits.b
      # what nobody has
      default: "nobody"
# the end
"""


def test_a_new_rule_is_the_last_one() -> None:
    """A rule for a property that has none stands after the others, and nothing else is touched."""
    text = with_rule(TEXT, {"property": "seats", "trait": "a: b", "clean": ["trim", {"scale": 0.01}]})

    added = '  - property: seats\n    trait: "a: b"\n    clean:\n      - trim\n      - scale: 0.01\n'.replace(
        '"', "'"
    )
    assert text == TEXT.replace('"nobody"\n', f'"nobody"\n{added}')


def test_keys_that_stay_keep_their_form() -> None:
    """In a rule that is there already only what differs is written."""
    text = with_rule(
        TEXT, {"property": "plan", "from": "traits.plan", "clean": ["trim"], "default": "none", "when": "userId"}
    )

    assert text == TEXT.replace("default: free\n", "default: none\n    when: userId\n")


def test_keys_that_go_take_their_comments_along() -> None:
    """What is no longer in a rule goes with what stands behind it; the comment lines stay."""
    text = with_rule(TEXT, {"property": "name", "trait": "x"})
    expected = TEXT.replace("      first_of:\n        - traits.a   # old\n        - traits.b\n", "")
    assert text == expected.replace('      default: "nobody"\n', "").replace(
        "  -   property: name\n", "  -   property: name\n      trait: x\n"
    )


def test_the_same_rule_in_another_form() -> None:
    """A rule that comes to the same leaves the text as it is."""
    assert (
        with_rule(TEXT, {"property": "plan", "from": "traits.plan", "clean": ["trim"], "default": "free"}) == TEXT
    )


def test_true_is_not_one() -> None:
    """A value of another type is another value."""
    text = "rules:\n  - property: a\n    trait: x # kept\n    values:\n      y: 1 # one\n"

    assert with_rule(text, {"property": "a", "trait": "x", "values": {"y": True}}) == text.replace("1 #", "true #")


@pytest.mark.parametrize(
    ("text", "with_it"),
    [
        ("", "rules:\n  - property: a\n    trait: b\n"),
        ("# only this\n", "# only this\nrules:\n  - property: a\n    trait: b\n"),
        ("# only this", "# only this\nrules:\n  - property: a\n    trait: b\n"),
        ("---\n", "---\nrules:\n  - property: a\n    trait: b\n"),
        ("rules:\n", "rules:\n  - property: a\n    trait: b\n"),
        ("rules: # c", "rules: # c\n  - property: a\n    trait: b"),
        ("rules: null\n# end\n", "rules:\n  - property: a\n    trait: b\n# end\n"),
        ("rules: []  # none yet\n", "rules:  # none yet\n  - property: a\n    trait: b\n"),
        ("forgiving_names: true", "forgiving_names: true\nrules:\n  - property: a\n    trait: b"),
        ("rules:\n- property: z\n  trait: y\n", None),
        ("rules: [{property: z}] # c\n", 'rules: [{property: z}, {"property": "a", "trait": "b"}] # c\n'),
        ("{}", '{"rules": [{"property": "a", "trait": "b"}]}'),
        ('{"rules": []}', '{"rules": [{"property": "a", "trait": "b"}]}'),
        ('{"forgiving_names": true}', '{"forgiving_names": true, "rules": [{"property": "a", "trait": "b"}]}'),
        ("rules:\r\n  - property: a\r\n    trait: c\r\n", "rules:\n  - property: a\n    trait: b\n"),
        ("rules:\n  - from: traits.c\n    property: a\n", "rules:\n  - property: a\n    trait: b\n"),
        ("rules:\n  -\n    property: a # c\n    trait: c\n", "rules:\n  -\n    property: a # c\n    trait: b\n"),
        ("rules:\n  - {property: a, trait: c} # d\n", "rules:\n  - property: a\n    trait: b # d\n"),
        ("rules:\n- property: a\n  when: |\n    userId\n\n# end", "rules:\n- property: a\n  trait: b\n\n# end"),
        ("rules:\n  - property: a\n    trait:\n", "rules:\n  - property: a\n    trait: b\n"),
        ("rules:\n  - ? property\n    : a\n", "rules:\n  - property: a\n    trait: b\n"),
    ],
)  # fmt: skip
def test_any_way_to_write(text: str, with_it: str | None) -> None:
    """Wherever rules stand, and however they are written, a rule gets there; and out again."""
    found = with_rule(text, {"property": "a", "trait": "b"})

    assert found == (with_it or f"{text}- property: a\n  trait: b\n")
    assert rule_in(found, "a") == {"property": "a", "trait": "b"}
    assert rule_in(without_rule(found, "a"), "a") is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: b: c", "the text is not YAML"),
        ("- a", "keys and values"),
        ("rules: {a: 1}", "is not a list"),
        ("rules: []\n# more: a\n? [", "not YAML"),
        ("{rules}", "by hand"),
    ],
)
def test_what_cannot_be_edited(text: str, said: str) -> None:
    """A text that a rule cannot be put into is refused, and says so."""
    with pytest.raises(YamlError, match=said):
        with_rule(text, {"property": "a", "trait": "b"})


def test_a_rule_goes() -> None:
    """Without a rule, the comments above it stay, and so do the other rules; the last one leaves an empty list."""
    without_plan = without_rule(TEXT, "plan")
    without_any = without_rule(without_plan, "name")

    begin, end = TEXT.index("  - property: plan"), TEXT.index("\n  # its name")
    assert without_plan == TEXT[:begin] + TEXT[end:]
    assert "rules: []   # ours\n  # the plan's\n" in without_any
    assert without_any.endswith("\n# the end\n")
    assert read_mapping(without_any).rules.forgiving_names
    assert without_rule(TEXT, "other") == TEXT


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("based_on: 3 # x\nrules: []", "based_on: 12 # x\nrules: []"),
        ("based_on:\nrules: []", "based_on: 12\nrules: []"),
        ('{"based_on": 3}', '{"based_on": 12}'),
        ("rules: []", "rules: []"),
    ],
)
def test_what_a_text_is_based_on(text: str, expected: str) -> None:
    """A text that names the version it is based on names another one; no other text does."""
    assert with_based_on(text, 12) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rules: []", "rules: []\nforgiving_names: true"),
        ("# ours\nrules:\n  - property: a # it\n    trait: b\n\n# end\n", None),
        ("forgiving_names: false # why\nrules: []\n", "forgiving_names: true # why\nrules: []\n"),
        ("forgiving_names:\nrules: []\n", "forgiving_names: true\nrules: []\n"),
        ("forgiving_names: true\n", "forgiving_names: true\n"),
        ("# nothing", "# nothing\nforgiving_names: true\n"),
        ("", "forgiving_names: true\n"),
        ('{"rules": []}', '{"rules": [], "forgiving_names": true}'),
        ("{}", '{"forgiving_names": true}'),
    ],
)
def test_a_key_of_the_whole(text: str, expected: str | None) -> None:
    """A key of the whole mapping has another value, and all else stays as it is."""
    found = with_option(text, "forgiving_names", True)

    assert found == (expected or text.replace("b\n\n", "b\nforgiving_names: true\n\n"))
    assert read_mapping(with_option(found, "create_missing", "audiences")).rules.create_missing == "audiences"


@pytest.mark.parametrize("text", ["rules: []", "", '{"rules": []}', "accept: x\nrules: []", '{"accept": "x"}'])
@pytest.mark.parametrize("value", ["[1]", "a: b", "a # b", "true", "x\ny", ["a: b", "*.c"], {"a": ["true"]}, None])
def test_option_of_any_form_is_read_as_it_was_set(text: str, value: JsonValue) -> None:
    """A value of a top-level key is quoted where YAML would read something else, and None removes the key."""
    before = dict(options_in(text))

    found = options_in(with_option(text, "accept", value))

    assert found == {**before, "accept": value} if value is not None else "accept" not in found
    assert {key: each for key, each in found.items() if key != "accept"} == {
        key: each for key, each in before.items() if key != "accept"
    }


CALL_RULES = """\
# ours
email:  # whose
  first_of:  # in this order
    - traits.mail  # new
    - traits.email
  lower: true
drop:
  - ssn  # by law
  # cards
  - card*
consent: {required_categories: [Ads]}
rules: []  # none yet
"""


@pytest.mark.parametrize(
    ("key", "value", "old", "new"),
    [
        ("email", {"first_of": ["traits.mail", "traits.email"], "clean": ["lower", "trim"]}, "  lower: true\n",
         "  clean:\n    - lower\n    - trim\n"),
        ("drop", ["ssn", "card*", "*.pin"], "  - card*\n", "  - card*\n  - '*.pin'\n"),
        ("drop", ["ssn"], "  # cards\n  - card*\n", "  # cards\n"),
        ("drop", None, "drop:\n  - ssn  # by law\n  # cards\n  - card*\n", ""),
        ("consent", {"required_categories": ["Ads", "Sales"]}, "consent: {required_categories: [Ads]}",
         "consent:\n  required_categories:\n    - Ads\n    - Sales"),
        ("consent", None, "consent: {required_categories: [Ads]}\n", ""),
        ("accept", "source.id != 'a: b'", "rules: []  # none yet\n",
         "rules: []  # none yet\naccept: \"source.id != 'a: b'\"\n"),
    ],
)  # fmt: skip
def test_option_changes_only_what_differs(key: str, value: JsonValue, old: str, new: str) -> None:
    """Items and keys of an option that stay keep their comments, as does the rest of the text."""
    assert with_option(CALL_RULES, key, value) == CALL_RULES.replace(old, new)


def written(rule: dict[str, Any], way: str) -> str:
    """A rule as somebody might write it in a list, its comments among its lines."""
    if way == "brackets":
        return f"  - {json.dumps(rule)}  # {rule['property']!a} in one line\n"
    lines = [f"{key}: {json.dumps(value)}" for key, value in rule.items()]
    column = {"ordinary": 2, "wide": 5}[way]
    return (
        "  -"
        + " " * (column - 1)
        + f"\n{' ' * (column + 2)}# within\n{' ' * (column + 2)}".join(lines)
        + "  # last\n"
    )


@st.composite
def files(draw: st.DrawFn) -> tuple[str, list[dict[str, Any]]]:
    """A file of several rules in several forms, with comments everywhere; and the rules."""
    rules = draw(st.lists(RULES, max_size=4, unique_by=lambda rule: rule["property"]))
    ways = [draw(st.sampled_from(["ordinary", "wide", "brackets"])) for _ in rules]
    parts = [
        f"  # above {number}\n\n{written(rule, way)}"
        for number, (rule, way) in enumerate(zip(rules, ways, strict=True))
    ]
    head = draw(st.sampled_from(["", "# head\n---\n", "forgiving_names: true # yes\n"]))
    body = f"rules: # here\n{''.join(parts)}" if rules else draw(st.sampled_from(["", "rules: []\n"]))
    return f"{head}{body}# the end", rules


@settings(max_examples=50)
@given(files(), RULES)
def test_everything_else_stays(file: tuple[str, list[dict[str, Any]]], rule: dict[str, Any]) -> None:
    """Whatever a file and a rule are: the file has exactly that rule then, and all else is as it was."""
    text, rules = file
    found = with_rule(text, rule)

    said: Any = read_yaml(found).data
    others = [each for each in rules if each["property"] != rule["property"]]
    assert [each for each in said["rules"] if each["property"] != rule["property"]] == others
    [there] = [each for each in said["rules"] if each["property"] == rule["property"]]
    assert Rule.model_validate(there).model_dump_json() == Rule.model_validate(rule).model_dump_json()
    left = iter(found.split("\n"))
    assert all(any(line == other for other in left) for line in kept_lines(text, rules, rule["property"]))

    gone = without_rule(found, rule["property"])
    assert read_mapping(gone).rules == read_mapping(without_rule(text, rule["property"])).rules


def kept_lines(text: str, rules: list[dict[str, Any]], key: str) -> list[str]:
    """The lines that are of no rule for a property, and say more than how the list begins."""
    number = next((number for number, rule in enumerate(rules) if rule["property"] == key), None)
    lines = text.split("\n")
    if number is not None:
        begin = lines.index(f"  # above {number}") + 1
        end = (
            lines.index(f"  # above {number + 1}")
            if f"  # above {number + 1}" in lines
            else lines.index("# the end")
        )
        lines = lines[:begin] + lines[end:]
    return [line for line in lines if not line.startswith("rules:")]
