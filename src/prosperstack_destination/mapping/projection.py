"""What a projection comes to."""

import builtins
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from pydantic import JsonValue

from prosperstack_destination.mapping.coercion import PropertyValue


class MatchedBy(StrEnum):
    """Why a trait feeds a property."""

    RULE = "rule"
    KEY = "key"
    NAME = "name"
    #: Its key or name but for case, spaces and underscores.
    FORGIVING = "forgiving"


class DesiredValue(NamedTuple):
    """What one property should be. There are very many: a tuple is made in a third of a frozen dataclass's time."""

    #: The value to have there; None: no value.
    value: PropertyValue
    #: The trait that gave it, or the expression that did.
    trait: str
    #: Why that trait.
    matched_by: MatchedBy
    #: The traits that its rule names; None: it rests on `trait`.
    depends_on: tuple[str, ...] | None = None

    @property
    def traits(self) -> tuple[str, ...]:
        """The traits that it rests on."""
        return (self.trait,) if self.depends_on is None else self.depends_on


@dataclass(frozen=True, slots=True)
class MappingProblem:
    """A trait that feeds a property and cannot: never sent, and it stops nothing else."""

    #: The key of the property.
    property: str
    #: The trait that feeds it, or the expression.
    trait: str
    #: The value that it started from.
    value: JsonValue
    #: Why it cannot be a value of the property.
    reason: str
    #: The traits that its rule names; None: it rests on `trait`.
    depends_on: tuple[str, ...] | None = None

    @builtins.property
    def traits(self) -> tuple[str, ...]:
        """The traits that it rests on."""
        return (self.trait,) if self.depends_on is None else self.depends_on


@dataclass(frozen=True, slots=True)
class Projection:
    """What traits give under an account's rules and catalog."""

    #: By property key. A property that no trait feeds is not in it, and stays as it is.
    desired: Mapping[str, DesiredValue]
    problems: tuple[MappingProblem, ...]
    #: The same for properties of subscriptions, by their keys.
    subscription: Mapping[str, DesiredValue] = field(default_factory=dict)

    def values(self) -> dict[str, PropertyValue]:
        """The desired values alone, by property key."""
        return {key: each.value for key, each in self.desired.items()}

    def subscription_values(self) -> dict[str, PropertyValue]:
        """The desired values of subscriptions alone, by property key."""
        return {key: each.value for key, each in self.subscription.items()}


def same_values(one: Mapping[str, DesiredValue], other: Mapping[str, DesiredValue]) -> bool:
    """Whether the same properties get the same values, wherever they come from; true is not 1."""
    return one.keys() == other.keys() and not any(True for _ in differing_keys(one, other))


def differing_keys(one: Mapping[str, DesiredValue], other: Mapping[str, DesiredValue]) -> Iterator[str]:
    """The keys that are in only one of the two, or have another value there; in order."""
    for key in dict.fromkeys((*one, *other)):
        here, there = one.get(key), other.get(key)
        if here is None or there is None or not _same(here.value, there.value):
            yield key


def _same(one: PropertyValue, other: PropertyValue) -> bool:
    return one == other and isinstance(one, bool) == isinstance(other, bool)
