"""Transforms."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue, ValidationError

from prosperstack_destination.mapping.coercion import CoercionError
from prosperstack_destination.mapping.transforms import Transform
from support.json_values import json_values


@pytest.mark.parametrize(
    ("transform", "value", "expected"),
    [
        ("trim", "  Jo ", "Jo"),
        ("trim", [" a", "b "], ["a", "b"]),
        ("trim", 5, 5),
        ("lower", "JO", "jo"),
        ("upper", "straße", "STRASSE"),
        ("title", "jo o'neill-SMITH", "Jo O'Neill-Smith"),
        ("title", "john O'Brien", "John O'Brien"),
        ("title", "SEAN O'BRIEN", "Sean O'Brien"),
        ("title", "d\u2019angelo's, i'll, don't", "D\u2019Angelo's, I'll, Don't"),
        ("title", "McDonald", "McDonald"),
        ("title", "MCDONALD mcdonald mcg", "McDonald McDonald Mcg"),
        ("title", "IBM germany GMBH", "IBM Germany Gmbh"),
        ("title", "JEAN-LUC PICARD, anne-marie", "Jean-Luc Picard, Anne-Marie"),
        ("title", "DeShawn van der Berg", "DeShawn Van Der Berg"),
        ("title", "3rd street 4a", "3rd Street 4a"),
        ("title", "first_name", "First_Name"),
        ("title", "E\u0301LODIE e\u0301lan", "E\u0301lodie E\u0301lan"),
        ("title", "élodie ÉLODIE, straße 李明", "Élodie Élodie, Straße 李明"),
        ({"round": 0}, 2.5, 3),
        ("round", "2.49", 2),
        ({"round": 2}, 2.675, 2.68),
        ({"round": -2}, 5850, 5900),
        ({"scale": 0.01}, 1999, 19.99),
        ({"scale": 0.01}, "1999", 19.99),
        ({"scale": 100}, 19.99, 1999),
        ({"scale": 0.5}, [2, 3], [1, 1.5]),
        ("join", ["a", 1, True, None], "a, 1, true"),
        ({"join": "|"}, [], ""),
        ({"join": "|"}, "alone", "alone"),
        ("count", [1, 2], 2),
        ("count", {"a": 1}, 1),
        ("count", [], 0),
        ({"date_format": "%d/%m/%Y"}, "04/05/2021", "2021-05-04"),
        ({"date_format": "%Y%m%d"}, 20210504, "2021-05-04"),
        ({"date_format": "%d/%m/%Y"}, "2021-05-04", "2021-05-04"),
        ({"date_format": "%d/%m/%Y"}, "2021-05-04T23:30:00Z", "2021-05-04T23:30:00Z"),
        ({"date_format": "%d/%m/%Y"}, 1620086400, 1620086400),
        ({"date_format": ["%m/%d/%Y", "%d.%m.%Y %H:%M"]}, "04.05.2021 23:30", "2021-05-04T23:30:00"),
        ({"date_format": ["%d/%m/%Y", "%m/%d/%Y"]}, "12/31/2021", "2021-12-31"),
        ({"date_format": "%d.%m.%Y %H:%M"}, " 04.05.2021 23:30 ", "2021-05-04T23:30:00"),
        ({"timezone": "America/New_York"}, "2021-05-05T01:30:00Z", "2021-05-04T21:30:00"),
        ({"timezone": "Europe/Berlin"}, 1620084600, "2021-05-04T01:30:00"),
        ({"timezone": "Europe/Berlin"}, "2021-05-04T23:30:00", "2021-05-04T23:30:00"),
        ({"timezone": "Europe/Berlin"}, "2021-05-04", "2021-05-04"),
        ({"timezone": "Europe/Berlin"}, "1620084600", "2021-05-04T01:30:00"),
        ({"timezone": "America/New_York"}, 20210504, "2021-05-04T00:00:00"),
        ({"max_length": 3}, "Johnny", "Joh"),
        ({"max_length": 3}, 12345, 12345),
        ({"replace": {"-": "", " ": "_"}}, "a-b c", "ab_c"),
        ({"replace": {"a": "b", "b": "c"}}, ["ab"], ["cc"]),
        ("split", "a, b,,c ", ["a", "b", "c"]),
        ({"split": ";"}, "a;b", ["a", "b"]),
        ("number", "$1,299.00", 1299),
        ("number", "1.299,50 €", 1299.5),
        ("number", "EUR 1 299,50", 1299.5),
        ("number", "1,299", 1299),
        ("number", "12,5", 12.5),
        ("number", "1.299", 1.299),
        ({"number": "de"}, "1.299", 1299),
        ({"number": "de-CH"}, "CHF 1'299.50", 1299.5),
        ({"number": "en"}, "1,299", 1299),
        ("number", "(1,299.00)", -1299),
        ("number", "-$5", -5),
        ("number", "$-5", -5),
        ("number", "15%", 15),
        ("number", "1,00,000.5", 100000.5),
        ("number", ["1", None, 2], [1, None, 2]),
        ("number", "1e3", 1000),
        ("yes_no", "Yes", True),
        ("yes_no", "n", False),
        ("yes_no", 1, True),
        ("yes_no", False, False),
        ({"format_date": "%d.%m.%Y"}, "2026-12-31T10:00:00Z", "31.12.2026"),
        ({"format_date": "%Y"}, 1620084600, "2021"),
        ("mask", "+43 660 1234567", "+** *** ***4567"),
        ({"mask": 0}, "ab-1", "**-*"),
        ("mask", "12345", "*****"),
        ("hash", "a", "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"),
        ({"hash": "md5"}, 5, "e4da3b7fbbce2345d7772b0674a318d5"),
    ],
)
def test_transform_gives_value(transform: Any, value: JsonValue, expected: JsonValue) -> None:
    """A transform changes values of its kind, and leaves other values unchanged."""
    result = Transform.model_validate(transform).step()(value)

    assert result == expected
    assert type(result) is type(expected)


@pytest.mark.parametrize(
    ("transform", "value", "message"),
    [
        ("round", "many", "it cannot be rounded: the text is not a number"),
        ({"scale": 0.01}, True, "a boolean is not a number"),
        ({"scale": 1e300}, 1e300, "too large"),
        ("join", [["nested"]], "one is an object or an array"),
        ("count", "text", "only the items of an array"),
        ({"date_format": "%d/%m/%Y"}, "31.12.2021", "it is no date of the form %d/%m/%Y, and no ISO 8601 date"),
        ({"timezone": "Europe/Berlin"}, "soon", "it is no date and time"),
        ({"date_format": ["%d/%m/%Y", "%d.%m.%Y"]}, "31-12-2026", "no date of the form %d/%m/%Y or %d.%m.%Y"),
        ({"timezone": "Europe/Berlin"}, 44320, "less than nine digits"),
        ("number", "twelve", "the text is not a number"),
        ("number", "1,2,3.4", "its points and commas do not make a number"),
        ({"number": "en"}, "1.299,50", "its points and commas do not make a number"),
        ("number", True, "a boolean is not a number"),
        ("yes_no", "perhaps", "the value is neither yes nor no"),
        ("yes_no", 2, "the value is neither yes nor no"),
        ({"format_date": "%Y"}, "soon", "not an ISO 8601 date"),
        ("hash", {"a": 1}, "only a single value can be hashed"),
        ({"replace": {"a": "b" * 1000}}, "a" * 1000, "the text would be too long"),
    ],
)
def test_unsuitable_value_is_refused_with_a_reason(transform: Any, value: JsonValue, message: str) -> None:
    """A transform refuses a value that it cannot take, with the reason."""
    with pytest.raises(CoercionError, match=message):
        Transform.model_validate(transform).step()(value)


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        ("trimm", "there is no transform 'trimm': did you mean trim?"),
        ({"round": 2, "trim": True}, "each item of `clean` must have exactly one transform"),
        ({"round": 99}, "less than or equal to 15"),
        ({"round": "2"}, "valid integer"),
        ({"scale": "0.01"}, "write a number"),
        ({"date_format": "DD/MM/YYYY"}, "write the parts of a date with %, e.g. %d/%m/%Y"),
        ({"date_format": "%d/%Q"}, "%Q is not a part of a date"),
        ({"timezone": "Europe/Berln"}, "did you mean Europe/Berlin?"),
        ({"max_length": 0}, "greater than or equal to 1"),
        ({"hash": "sha"}, "there is no hash 'sha': did you mean sha1?"),
        ({"number": "german"}, "there is no locale 'german'"),
        ({"format_date": "YYYY"}, "write the parts of a date with %, e.g. %Y"),
        ({"replace": {"": "x"}}, "at least 1 character"),
        ({"mask": -1}, "greater than or equal to 0"),
        ({"format_date": True}, "valid string"),
    ],
)
def test_invalid_transform_is_refused_with_a_correction(transform: Any, message: str) -> None:
    """The error for an invalid transform says what to write instead."""
    with pytest.raises(ValidationError, match=message):
        Transform.model_validate(transform)


transforms = st.sampled_from(
    [
        *("trim", "lower", "upper", "title", "round", "join", "count", "split", "number", "yes_no", "hash", "mask"),
        *(
            {"scale": 0.01},
            {"round": -3},
            {"date_format": "%d %b %y"},
            {"timezone": "Asia/Kolkata"},
            {"max_length": 2},
            {"replace": {"a": "bb"}},
            {"format_date": "%d.%m.%Y"},
            {"number": "de"},
        ),
    ]
).map(Transform.model_validate)


@given(transforms, json_values)
def test_transforms_raise_only_their_own_error(transform: Transform, value: JsonValue) -> None:
    """Any JSON value is transformed, or raises `CoercionError`."""
    with suppress(CoercionError):
        transform.step()(value)
