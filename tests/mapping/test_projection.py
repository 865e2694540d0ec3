"""Comparison of desired values."""

from prosperstack_destination.mapping.coercion import PropertyValue
from prosperstack_destination.mapping.projection import DesiredValue, MatchedBy, differing_keys, same_values


def desired(**values: PropertyValue) -> dict[str, DesiredValue]:
    return {key: DesiredValue(value, key, MatchedBy.KEY) for key, value in values.items()}


def test_values_differ_by_value_and_type() -> None:
    """Other values, missing keys, and true and 1 differ; the source of a value does not count."""
    one, other = desired(a=1, b="x", c=True, d=None), desired(a=1, b="y", c=1, e=2)

    assert list(differing_keys(one, other)) == ["b", "c", "d", "e"]
    assert same_values(desired(a=1), {"a": DesiredValue(1, "elsewhere", MatchedBy.RULE)})
    assert not same_values(desired(a=None), desired())
