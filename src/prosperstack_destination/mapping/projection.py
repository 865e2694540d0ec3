"""Projection: the desired values and problems that a mapping gives for one profile."""

import builtins
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from pydantic import JsonValue

from prosperstack_destination.mapping.coercion import PropertyValue


class MatchedBy(StrEnum):
    """Reason why a trait feeds a property."""

    RULE = "rule"
    KEY = "key"
    NAME = "name"
    #: The key or the name, apart from case, spaces and underscores.
    FORGIVING = "forgiving"


class DesiredValue(NamedTuple):
    """Desired value of one property.

    A named tuple, because it is created three times as fast as a frozen dataclass.
    """

    #: Value that the property gets; None deletes it.
    value: PropertyValue
    #: Trait or expression that gives the value.
    trait: str
    #: Why that trait.
    matched_by: MatchedBy
    #: Traits that the rule reads; None if the value depends on `trait` alone.
    depends_on: tuple[str, ...] | None = None

    @property
    def traits(self) -> tuple[str, ...]:
        """Return the traits that the result depends on."""
        return (self.trait,) if self.depends_on is None else self.depends_on


@dataclass(frozen=True, slots=True)
class MappingProblem:
    """A value that cannot become the property's type. It is never sent, and does not hold up other properties."""

    #: Key of the property.
    property: str
    #: Trait or expression that feeds the property.
    trait: str
    #: Value before coercion.
    value: JsonValue
    #: Reason why the value cannot become the property's type.
    reason: str
    #: Traits that the rule reads; None if the value depends on `trait` alone.
    depends_on: tuple[str, ...] | None = None

    @builtins.property
    def traits(self) -> tuple[str, ...]:
        """Return the traits that the result depends on."""
        return (self.trait,) if self.depends_on is None else self.depends_on


@dataclass(frozen=True, slots=True)
class Projection:
    """Desired values and problems of one profile, by an account's rules and catalog."""

    #: Desired values by property key. A property that no trait feeds is missing, and keeps its value.
    desired: Mapping[str, DesiredValue]
    problems: tuple[MappingProblem, ...]
    #: Desired values of properties of subscriptions by property key.
    subscription: Mapping[str, DesiredValue] = field(default_factory=dict)

    def values(self) -> dict[str, PropertyValue]:
        """Return the desired values by property key."""
        return {key: desired.value for key, desired in self.desired.items()}

    def subscription_values(self) -> dict[str, PropertyValue]:
        """Return the desired values of subscriptions by property key."""
        return {key: desired.value for key, desired in self.subscription.items()}


def same_values(one: Mapping[str, DesiredValue], other: Mapping[str, DesiredValue]) -> bool:
    """Return whether two projections give the same values; true differs from 1, and sources do not count."""
    return one.keys() == other.keys() and not any(True for _ in differing_keys(one, other))


def differing_keys(one: Mapping[str, DesiredValue], other: Mapping[str, DesiredValue]) -> Iterator[str]:
    """Yield the keys that are missing in one of the two or have different values, in order."""
    for key in dict.fromkeys((*one, *other)):
        left, right = one.get(key), other.get(key)
        if left is None or right is None or not _same(left.value, right.value):
            yield key


def _same(one: PropertyValue, other: PropertyValue) -> bool:
    return one == other and isinstance(one, bool) == isinstance(other, bool)
