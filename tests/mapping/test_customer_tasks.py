"""Mapping tasks that customers bring, each in at most four lines of YAML, and each by the form of the dashboard."""

import time
from typing import Any

import pytest
from pydantic import JsonValue

from prosperstack_destination.call_facts import SOURCE_FACT, context_fact, source_trait_fact
from prosperstack_destination.dashboard.rule_form import fields_of
from prosperstack_destination.mapping.catalog import Catalog, Property, PropertyType
from prosperstack_destination.mapping.compiled_mapping import CompiledMapping
from prosperstack_destination.mapping.expression_runner import MappingInput
from prosperstack_destination.mapping.functions import FunctionContext
from prosperstack_destination.mapping.mapping_file import InvalidMapping, read_mapping
from prosperstack_destination.mapping.rules import Rule, Rules, dump_rules, load_rules

CATALOG = Catalog([Property(each.value, each.value.title(), each) for each in PropertyType])
#: Noon of the last day of 2026, UTC.
NOON = 1_798_718_400_000_000
FACTS: dict[str, tuple[JsonValue, int]] = {
    context_fact(["campaign", "name"]): ("Spring sale", 1),
    context_fact(["locale"]): ("de-AT", 1),
    source_trait_fact("src_billing", "mrr"): (49, 2),
    SOURCE_FACT: ({"id": "src_web", "name": "analytics.js 2.1", "kind": "source"}, 1),
}
#: Task, lines of a rule, traits, key of the property, and its value.
TASKS: list[tuple[str, str, dict[str, JsonValue], str, JsonValue]] = [
    ("cents to dollars", "trait: cents\nscale: 0.01\nround: 2", {"cents": 1999}, "number", 19.99),
    ("days since signup", "from: days_since(traits.signup)", {"signup": "2026-12-01T08:00:00Z"}, "number", 30),
    ("days until renewal", "from: days_until(traits.renews)", {"renews": "2027-01-15"}, "number", 15),
    (
        "plan names by table",
        "trait: plan\nvalues: {p1: Starter, p2: Pro}\nfallback: keep",
        {"plan": "p2"},
        "text",
        "Pro",
    ),
    ("first of three", "first_of: [traits.a, traits.b, traits.c]", {"a": " ", "b": None, "c": "x"}, "text", "x"),
    ("price as text", "trait: price\nnumber: true", {"price": "$1,299.00"}, "number", 1299),
    ("German price", "trait: price\nnumber: de", {"price": "1.299,50 €"}, "number", 1299.5),
    ("yes or no", "trait: vip\nyes_no: true", {"vip": "Yes"}, "boolean", True),
    ("phone mask", "trait: phone\nmask: 4", {"phone": "+43 660 1234567"}, "text", "+** *** ***4567"),
    (
        "hashed email",
        "from: lower(traits.email)\nhash: sha256",
        {"email": "A@B.C"},
        "text",
        "d648b243a3e817eaa3309e00e183483f2867baadf522099f0c2121770536b25a",
    ),
    ("list length", "trait: items\ncount: true", {"items": [1, 2, 3]}, "number", 3),
    ("campaign", "from: context.campaign.name", {}, "text", "Spring sale"),
    ("language", "from: split(context.locale, '-')[0]", {}, "text", "de"),
    ("rule per source", "trait: mrr\nsources: [src_billing]", {"mrr": 12}, "number", 49),
    ("full name", "from: trim(concat(traits.first, ' ', traits.last))", {"last": "Doe"}, "text", "Doe"),
    ("phone digits", "from: regex_replace(traits.phone, '[^0-9]', '')", {"phone": "+43 1/23"}, "text", "43123"),
    ("email domain", "from: split(traits.email, '@')[1]\nlower: true", {"email": "a@X.org"}, "text", "x.org"),
    ("dates", "trait: born\ndate_format: [\"%d/%m/%Y\", \"%d.%m.%Y\"]", {"born": "5.6.1990"}, "date",
     "1990-06-05"),
    ("date as text", "trait: since\nformat_date: \"%B %Y\"", {"since": "2026-05-01"}, "text", "May 2026"),
    ("heavy user", "from: if(traits.logins > `10`, 'heavy', 'light')", {"logins": 11}, "text", "heavy"),
    ("sum of orders", "from: sum(traits.orders[?paid].total)\nround: 2",
     {"orders": [{"paid": True, "total": 5.555}]}, "number", 5.56),
    ("JSON in text", "from: from_json(traits.blob).seats", {"blob": '{"seats": 5}'}, "number", 5),
    ("phone without signs", "trait: phone\nreplace: {\"-\": \"\", \" \": \"\"}", {"phone": "1-2 3"}, "text", "123"),
    ("trial ends", "from: date_add(traits.start, `14`)", {"start": "2026-12-25"}, "date", "2027-01-08"),
    ("source kind", "from: source.kind", {}, "text", "source"),
    ("tags", "trait: tags\nsplit: true\ncount: true", {"tags": "a, b,,c"}, "number", 3),
]  # fmt: skip


def written(key: str, rule: str) -> str:
    """Return a mapping file with one rule."""
    lines = "".join(f"    {line}\n" for line in rule.split("\n"))
    return f"rules:\n  - property: {key}\n{lines}"


@pytest.mark.parametrize(("task", "rule", "traits", "key", "value"), TASKS, ids=[each[0] for each in TASKS])
def test_task_by_yaml_and_by_form(
    task: str, rule: str, traits: dict[str, JsonValue], key: str, value: JsonValue
) -> None:
    """A task needs at most four lines of YAML, and the form makes the same rule of its fields."""
    assert rule.count("\n") < 4, task
    rules = read_mapping(written(key, rule)).rules
    by_form = Rules(rules=(Rule.model_validate(fields_of(rules.rules[0]).rule()),))

    for each in (rules, by_form, load_rules(dump_rules(rules))):
        mapping = CompiledMapping(CATALOG, each, context=FunctionContext(secret=b"x"))
        projection = mapping.project(MappingInput(traits, facts=FACTS, now=NOON))
        assert projection.problems == ()
        assert projection.values()[key] == value


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        (written("number", "trait: price\nnumbr: true"), (4, "rules[0].numbr"), "did you mean number?"),
        (written("text", "from: traits.first + ' ' + traits.last"), (3, "rules[0].from"),
         "did you mean concat(traits.first, ' ', traits.last)?"),
        (written("text", "from: traits.a\nsorces: [x]"), (4, "rules[0].sorces"), "did you mean sources?"),
        ("accept: source = 'x'\n", (1, "accept"), "did you mean source.id == 'x'?"),
        ("consent: {required_category: [a]}\n", (1, "consent"), "required_categories is missing"),
    ],
)  # fmt: skip
def test_mistake_is_reported_by_line_and_key(text: str, place: tuple[int, str], message: str) -> None:
    """A mistake is reported with its line, its key and the nearest right word."""
    with pytest.raises(InvalidMapping) as error:
        read_mapping(text)

    found = [(each.place.line if each.place else 0, each.key) for each in error.value.faults]
    assert place in found
    assert message in str(error.value)


def test_large_mapping_is_read_and_applied_soon() -> None:
    """A mapping of 300 rules and a table of 5,000 entries is read in seconds, and maps a profile soon."""
    catalog = Catalog([Property(f"p{number}", f"P{number}", PropertyType.TEXT) for number in range(300)])
    rules: list[dict[str, Any]] = [
        {"property": f"p{number}", "from": f"upper(traits.t{number})"} for number in range(300)
    ]
    rules[0]["values"] = {f"K{number}": number for number in range(5_000)}
    text = "rules:\n" + "".join(f"  - {rule}\n" for rule in rules).replace("'", '"')
    began = time.process_time()
    mapping = CompiledMapping(catalog, read_mapping(text).rules)
    seconds_to_read = time.process_time() - began

    began = time.process_time()
    projection = mapping.project(MappingInput({f"t{number}": f"k{number}" for number in range(300)}))

    assert projection.values()["p0"] == "0"
    assert projection.values()["p299"] == "K299"
    assert seconds_to_read < 20
    assert time.process_time() - began < 0.5
