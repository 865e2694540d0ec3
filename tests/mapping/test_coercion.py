"""Coercion to ProsperStack's four types."""

import math
import re
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from prosperstack_destination.mapping.catalog import PropertyType
from prosperstack_destination.mapping.coercion import CoercionError, PropertyValue, coerce
from support.json_values import json_values

TEXT, NUMBER, BOOLEAN, DATE = PropertyType.TEXT, PropertyType.NUMBER, PropertyType.BOOLEAN, PropertyType.DATE


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        ("Johnny", TEXT, "Johnny"),
        (" Johnny ", TEXT, " Johnny "),
        (5800, TEXT, "5800"),
        (1.5, TEXT, "1.5"),
        (True, TEXT, "true"),
        (False, TEXT, "false"),
        (5800, NUMBER, 5800),
        (5800.0, NUMBER, 5800),
        (1.5, NUMBER, 1.5),
        ("5800", NUMBER, 5800),
        (" 5800 ", NUMBER, 5800),
        ("-1.50", NUMBER, -1.5),
        (".5", NUMBER, 0.5),
        ("2e3", NUMBER, 2000),
        (0, NUMBER, 0),
        (True, BOOLEAN, True),
        (False, BOOLEAN, False),
        ("true", BOOLEAN, True),
        ("T", BOOLEAN, True),
        ("1", BOOLEAN, True),
        ("FALSE", BOOLEAN, False),
        ("f", BOOLEAN, False),
        ("0", BOOLEAN, False),
        (" True ", BOOLEAN, True),
        (1, BOOLEAN, True),
        (0, BOOLEAN, False),
        (1.0, BOOLEAN, True),
        ("2021-05-04", DATE, "2021-05-04"),
        ("20210504", DATE, "2021-05-04"),
        ("2021-05-04T23:30:00Z", DATE, "2021-05-04"),
        ("2021-05-04T23:30:00-02:00", DATE, "2021-05-05"),  # 01:30 of the next day in UTC
        ("2021-05-04 10:00", DATE, "2021-05-04"),
        ("2021-05-04T10:00:00.123456789Z", DATE, "2021-05-04"),
        (1620086400, DATE, "2021-05-04"),  # seconds
        (1620086400000, DATE, "2021-05-04"),  # milliseconds
        (1620086400.5, DATE, "2021-05-04"),
        ("1620086400", DATE, "2021-05-04"),
        ("1620086400000", DATE, "2021-05-04"),
        (1620086400000000, DATE, "2021-05-04"),  # microseconds, as BigQuery has them
        ("1620086400000000", DATE, "2021-05-04"),
        (-315619200, DATE, "1960-01-01"),
        (20210504, DATE, "2021-05-04"),
        (20210504.0, DATE, "2021-05-04"),
        ("20210504.0", DATE, "2021-05-04"),
        (18650504, DATE, "1865-05-04"),
        (202105041030, DATE, "2021-05-04"),
        ("20210504103000", DATE, "2021-05-04"),
        (199999999999, DATE, "1976-05-03"),  # milliseconds: there is no month 99
        ("1000-01-01", DATE, "1000-01-01"),
    ],
)
def test_values_of_the_type(value: JsonValue, kind: PropertyType, expected: PropertyValue) -> None:
    """What means a value of the type becomes exactly that value, of exactly that Python type."""
    result = coerce(value, kind)

    assert result == expected
    assert type(result) is type(expected)


@pytest.mark.parametrize("kind", PropertyType)
@pytest.mark.parametrize("value", [None, ""])
def test_null_and_empty_text_delete(value: JsonValue, kind: PropertyType) -> None:
    """null and "" delete a value of any type."""
    assert coerce(value, kind) is None


@pytest.mark.parametrize(
    ("value", "kind", "reason"),
    [
        ({"a": 1}, TEXT, "an object is not a single value"),
        ([1], TEXT, "an array is not a single value"),
        ([], NUMBER, "an array"),
        (math.inf, TEXT, "not a finite number"),
        (True, NUMBER, "a boolean is not a number"),
        (math.nan, NUMBER, "too large"),
        (math.inf, NUMBER, "too large"),
        (10**400, NUMBER, "too large"),
        pytest.param(10**5000, TEXT, "too large", id="5001 digits"),
        ("1e999", NUMBER, "too large"),
        ("NaN", NUMBER, "not a number"),
        ("inf", NUMBER, "not a number"),
        ("1_000", NUMBER, "not a number"),
        ("1,000", NUMBER, "not a number"),
        ("0x10", NUMBER, "not a number"),
        ("٣", NUMBER, "not a number"),
        (" ", NUMBER, "not a number"),
        ("9" * 100, NUMBER, "not a number"),
        ("no", BOOLEAN, "none of true, t, 1"),
        ("yes", BOOLEAN, "none of true, t, 1"),
        (" ", BOOLEAN, "none of true, t, 1"),
        (2, BOOLEAN, "only 1 and 0"),
        (0.5, BOOLEAN, "only 1 and 0"),
        (True, DATE, "a boolean is not a date"),
        ("yesterday", DATE, "not an ISO 8601 date"),
        ("04/05/2021", DATE, "not an ISO 8601 date"),
        ("2021-13-01", DATE, "not an ISO 8601 date"),
        ("0001-01-01T00:00:00+23:00", DATE, "not an ISO 8601 date"),
        (10**30, DATE, "not a Unix time"),
        (0, DATE, "less than nine digits"),
        ("0", DATE, "less than nine digits"),
        (1985, DATE, "less than nine digits"),
        ("1985", DATE, "less than nine digits"),
        (44320, DATE, "less than nine digits"),  # a day of Excel's
        ("44320.5", DATE, "less than nine digits"),
        (-86400, DATE, "less than nine digits"),
        (20211304, DATE, "less than nine digits"),  # no month 13
        (20210504.5, DATE, "less than nine digits"),
        ("0001-01-01", DATE, "the year 0001 is not the year of a date"),
        ("0001-01-01T00:00:00Z", DATE, "the year 0001 is not the year of a date"),
        ("0021-05-04", DATE, "the year 0021 is not the year of a date"),
        (math.inf, DATE, "not a Unix time"),
        (math.nan, DATE, "not a Unix time"),
    ],
)
def test_values_that_are_none(value: JsonValue, kind: PropertyType, reason: str) -> None:
    """What is no value of the type is refused with a reason in words."""
    with pytest.raises(CoercionError, match=re.escape(reason)):
        coerce(value, kind)


@given(json_values, st.sampled_from(PropertyType))
def test_coercion_is_total_and_stable(value: JsonValue, kind: PropertyType) -> None:
    """Any JSON value gives a value that coerces to itself, or a reason; never another exception."""
    try:
        result = coerce(value, kind)
    except CoercionError:
        return

    assert result is None or isinstance(result, str | int | float | bool)
    assert coerce(result, kind) == result


@given(st.dates(min_value=date(1000, 1, 1)))
def test_every_iso_date_is_itself(day: date) -> None:
    """A plain ISO date is sent as it came."""
    assert coerce(day.isoformat(), DATE) == day.isoformat()
