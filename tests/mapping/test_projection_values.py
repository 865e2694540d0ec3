"""Comparing what is desired."""

from prosperstack_destination.mapping.coercion import PropertyValue
from prosperstack_destination.mapping.projection import DesiredValue, MatchedBy, differing_keys, same_values


def desired(**values: PropertyValue) -> dict[str, DesiredValue]:
    return {key: DesiredValue(value, key, MatchedBy.KEY) for key, value in values.items()}


def test_what_differs() -> None:
    """Other values differ, and what is on one side only; true is not 1; where a value comes from does not count."""
    one, other = desired(a=1, b="x", c=True, d=None), desired(a=1, b="y", c=1, e=2)

    assert list(differing_keys(one, other)) == ["b", "c", "d", "e"]
    assert same_values(desired(a=1), {"a": DesiredValue(1, "elsewhere", MatchedBy.RULE)})
    assert not same_values(desired(a=None), desired())
