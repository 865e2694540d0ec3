"""The mapping file."""

from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML

from prosperstack_destination.mapping.catalog import Catalog, Property, PropertyType
from prosperstack_destination.mapping.mapping_file import (
    InvalidMapping,
    KnownProperties,
    check_mapping,
    json_schema,
    read_mapping,
)

KNOWN = KnownProperties(
    Catalog(
        [
            Property("preferred_name", "Preferred name", PropertyType.TEXT),
            Property("plan", "Plan tier", PropertyType.TEXT),
        ]
    ),
    Catalog([Property("seats", "Seats", PropertyType.NUMBER)]),
)

GOOD = """
# yaml-language-server: $schema=mapping.schema.json
forgiving_names: true
create_missing: audiences
based_on: 3
rules:
  - property: preferred_name   # what people like to be called
    first_of: [traits.nickname, traits."First name"]
    trim: true
    title: true
  - property: plan
    from: traits.subscription.plan
    clean: [lower, {max_length: 20}, {round: 2}]
    values: {pro: Professional, no: Nothing, 1: One}
    fallback: Other
    when: traits.email
  - property: subscription.seats
    trait: Seats bought
    default: 1
  - {property: preferred_names, ignore: true}
"""


def test_file_gives_rules_version_and_unknown_properties() -> None:
    """A file gives its rules and ``based_on``; an unknown property is reported with the most similar key."""
    read = read_mapping(GOOD, KNOWN)

    assert (read.based_on, read.rules.forgiving_names, len(read.rules)) == (3, True, 4)
    assert [each.name for each in read.rules.rules[0].clean] == ["trim", "title"]
    assert read.rules.rules[1].values == {"pro": "Professional", "no": "Nothing", "1": "One"}
    [unknown] = read.unknown
    assert unknown.place is not None
    assert (unknown.place.line, unknown.key) == (20, "rules[3].property")
    assert unknown.message.endswith("did you mean preferred_name?")


def read_faults(text: str) -> list[tuple[int, str]]:
    with pytest.raises(InvalidMapping) as error:
        read_mapping(text, KNOWN)
    return [(fault.place.line if fault.place else 0, str(fault)) for fault in error.value.faults]


@pytest.mark.parametrize(
    ("rule", "line", "message"),
    [
        ("property: plan\n    form: traits.x", 3, "rules[0].form: there is no key 'form' here: did you mean from?"),
        ("property: plan\n    trm: true", 3, "rules[0].trm: there is no key 'trm' here: did you mean trim?"),
        ("from: traits.x", 2, "rules[0]: property is missing"),
        ("property: plan", 2, "rules[0]: the rule has no source: add from"),
        ("property: plan\n    from: nickname", 3, "the trait 'nickname' is traits.nickname"),
        ("property: plan\n    from: 5", 3, "rules[0].from: write text here"),
        ("property: plan\n    from: traits.x\n    scale: abc", 4, "rules[0].scale: write a number"),
        ("property: plan\n    from: traits.x\n    round: 99", 4, "rules[0].round: the value must be less than"),
        (
            "property: plan\n    from: traits.x\n    clean:\n      - lowr",
            5,
            "clean[0]: there is no transform 'lowr'",
        ),
        ("property: plan\n    from: traits.x\n    values:\n      a: [1]", 5, "values.a: write one value here"),
        ("property: plan\n    from: traits.x\n    timezone: Berlin", 4, "rules[0].timezone: there is no time zone"),
        ("property: plan\n    from: traits.x\n    date_format: DD.MM.YYYY", 4, "e.g. %d.%m.%Y"),
        ("property: plan\n    from: traits.x\n  - property: plan\n    from: traits.y", 4, "two rules feed"),
        ("property: Plan tier\n    from: traits.", 2, "the key of the property named 'Plan tier' is plan"),
        ("property: Plan tier\n    from: traits.", 3, "something is missing at its end"),
        ("property: subscription.seat\n    from: traits.x\n    x: 1", 2, "did you mean subscription.seats?"),
        ("nothing", 2, "write keys and values here"),
    ],
)
def test_fault_has_line_key_and_correction(rule: str, line: int, message: str) -> None:
    """A fault has its line and its key, and says what is wrong and what to write instead."""
    faults = read_faults(f"rules:\n  - {rule}\n")

    assert any(number == line and message in text for number, text in faults), faults


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rulez: []", "rulez: there is no key 'rulez' here: did you mean rules?"),
        ("rules: plan", "rules: write a list here"),
        ("[1, 2]", "write keys and values here"),
        ("create_missing: all", "create_missing: the value must be 'none', 'audiences' or 'traits'"),
        ("forgiving_names: perhaps", "forgiving_names: the value must be a valid boolean"),
        ("based_on: -1", "based_on: the value must be greater than or equal to 0"),
        ("a: b: c", "the text is not YAML"),
    ],
)
def test_fault_outside_rules_has_its_key(text: str, message: str) -> None:
    """A fault outside the rules is reported like one in a rule."""
    assert message in read_faults(text)[0][1]


def test_all_faults_are_reported_at_once() -> None:
    """All faults of a file are reported in its order, up to a bound."""
    lines = [line for line, _ in read_faults("rules:\n" + "  - {property: plan, form: x}\n" * 3 + "x: 1\n")]

    assert lines == [2, 3, 4, 5]
    assert len(read_faults("rules:\n" + "  - {form: x}\n" * 400)) <= 100


def test_data_is_checked_like_a_file() -> None:
    """A mapping that the API receives has the same faults, without lines."""
    with pytest.raises(InvalidMapping) as error:
        check_mapping({"rules": [{"property": "plan", "frm": "x"}]})

    assert error.value.faults[0].place is None
    assert check_mapping({"rules": [{"property": "plan", "from": "traits.x"}]}).based_on is None


def test_an_empty_file_has_no_rules() -> None:
    """An empty file is a mapping without rules."""
    assert len(read_mapping("# nothing yet\n").rules) == 0


@pytest.mark.parametrize(
    ("change", "valid"),
    [
        ({}, True),
        ({"scale": 0.01, "round": True}, True),
        ({"clean": ["trim", {"join": True}]}, True),
        ({"clean": ["scale"]}, False),
        ({"form": "x"}, False),
        ({"round": "x"}, False),
        ({"clean": [{"trim": True, "lower": True}]}, False),
    ],
)
def test_json_schema_accepts_the_same_rules_as_the_file(change: dict[str, Any], valid: bool) -> None:
    """The JSON Schema accepts a rule exactly if reading the file accepts it."""
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    rule = {"property": "plan", "from": "traits.x", **change}

    assert jsonschema.Draft202012Validator(schema).is_valid({"rules": [rule]}) is valid
    assert jsonschema.Draft202012Validator(schema).is_valid(YAML(typ="safe", pure=True).load(GOOD))


@pytest.mark.parametrize("number", [".inf", "-.inf", ".nan", "1e999", "9" * 400, "0x" + "f" * 5_000])
def test_number_without_json_form_is_refused(number: str) -> None:
    """A number that JSON cannot express is error, in defaults and in lookup tables."""
    for rule in (f"default: {number}", f"from: userId\n    values:\n      a: {number}"):
        with pytest.raises(InvalidMapping, match="write one value here"):
            read_mapping(f"rules:\n  - property: plan\n    {rule}\n")


def test_unstorable_text_is_replaced() -> None:
    """U+0000 in the name of a trait is replaced, as it is in calls."""
    read = read_mapping('rules:\n  - property: plan\n    trait: "a\\0"\n')

    assert read.rules.rules[0].trait == "a\ufffd"
