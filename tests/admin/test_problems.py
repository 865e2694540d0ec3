"""Tests of the advice on problems."""

from collections.abc import Mapping
from typing import Any

import pytest
from pydantic import JsonValue

from prosperstack_destination.admin.problems import advice
from prosperstack_destination.mapping.catalog import Catalog, Property, PropertyType
from prosperstack_destination.mapping.compiled_mapping import project
from prosperstack_destination.mapping.mapping_file import check_mapping
from prosperstack_destination.store.problems import rejection_reason

CATALOG = Catalog(Property(each.value, each.value.capitalize(), each) for each in PropertyType)


def reason(rule: Mapping[str, Any] | None, value: JsonValue, kind: str) -> str:
    """Why a value of the trait ``x`` is none of a property, by a rule; None: the trait has the property's name."""
    if rule is None:
        projection = project({kind: value}, CATALOG)
    else:
        rules = check_mapping({"rules": [{"property": kind, "from": "traits.x", **rule}]}).rules
        projection = project({"x": value}, CATALOG, rules)
    [problem] = projection.problems
    return problem.reason


@pytest.mark.parametrize(
    ("rule", "value", "kind", "helps"),
    [
        (None, ["a"], "text", "turns an array into text"),
        (None, {"a": 1}, "number", "takes one part of it"),
        (None, True, "number", "fallback: keep"),
        (None, "many", "number", "fallback: keep"),
        (None, "9" * 60 + "e300", "number", "larger than ProsperStack"),
        (None, "yes", "boolean", "values: {yes: true, no: false} and fallback: keep"),
        (None, 7, "boolean", "compares numbers and keeps the rest"),
        (None, "31/12/2026", "date", "date_format"),
        (None, True, "date", "a trait that is a date"),
        (None, 1e300, "date", "seconds, milliseconds"),
        (None, 44320, "date", "are not dates here"),
        (None, "0001-01-01", "date", "a placeholder"),
        ({"date_format": "%d/%m/%Y"}, "31.12.2026", "date", "Add the other form"),
        ({"date_format": "%d/%m/%Y"}, 5, "date", "Add the other form"),
        ({"timezone": "Europe/Berlin"}, "soon", "date", "date_format before timezone"),
        ({"values": {"a": "b"}}, "c", "text", "or a fallback"),
        ({"round": 2}, "many", "number", "when: to_number"),
        ({"scale": 2}, "many", "number", "when: to_number"),
        ({"join": ","}, [{"a": 1}], "text", "one part of each item"),
        ({"count": True}, "x", "number", "Exclude other values"),
        ({"from": "length(traits.x)"}, 5, "number", "a condition that excludes"),
    ],
)
def test_each_mapping_reason_has_advice(
    rule: Mapping[str, Any] | None, value: JsonValue, kind: str, helps: str
) -> None:
    """Each reason of the mapping has its own advice."""
    assert helps in advice(reason(rule, value, kind))


def test_expensive_expression_is_to_be_simplified() -> None:
    """The advice on an expression with too much work is to simplify it."""
    doubled = "traits.x" + "[*][@, @][]" * 14
    assert "Simplify" in advice(reason({"from": doubled}, [[1]] * 50, "text"))


def test_rejection_has_advice_for_rejections() -> None:
    """A rejection gets the advice for rejections, with any words of ProsperStack."""
    assert "a new value is sent automatically" in advice(rejection_reason("seats: the text is not a number"))


def test_unknown_reason_has_general_advice() -> None:
    """An unknown reason gets general advice."""
    assert "at its source" in advice("it is Tuesday")
