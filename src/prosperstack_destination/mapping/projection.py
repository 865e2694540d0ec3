"""From a person's traits to the properties that ProsperStack should have for them."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from pydantic import JsonValue

from prosperstack_destination.mapping.catalog import Catalog, Property
from prosperstack_destination.mapping.coercion import CannotCoerce, PropertyValue, coerce
from prosperstack_destination.mapping.rules import NO_RULES, Rule, Rules


class MatchedBy(StrEnum):
    """Why a trait feeds a property."""

    RULE = "rule"
    KEY = "key"
    NAME = "name"


@dataclass(frozen=True, slots=True)
class Desired:
    """What one property should be."""

    #: The value to have there; None: no value.
    value: PropertyValue
    #: The trait that gave it.
    trait: str
    #: Why that trait.
    matched_by: MatchedBy


@dataclass(frozen=True, slots=True)
class Problem:
    """A trait that feeds a property and cannot: never sent, and it stops nothing else."""

    #: The key of the property.
    property: str
    #: The trait that feeds it.
    trait: str
    #: The trait's value, as it came.
    value: JsonValue
    #: Why it cannot be a value of the property.
    reason: str


@dataclass(frozen=True, slots=True)
class Projection:
    """What traits give under an account's rules and catalog."""

    #: By property key. A property that no trait feeds is not in it, and stays as it is.
    desired: Mapping[str, Desired]
    problems: tuple[Problem, ...]

    def values(self) -> dict[str, PropertyValue]:
        """The desired values alone, by property key."""
        return {key: each.value for key, each in self.desired.items()}


def project(traits: Mapping[str, JsonValue], catalog: Catalog, rules: Rules = NO_RULES) -> Projection:
    """Map a person's traits to desired properties.

    For each property: the account's rule for it, and nothing else where there is one; otherwise the trait
    whose name is exactly the property's key; otherwise the trait whose name is exactly its name. A trait
    that is there with null counts as there: it deletes.

    Deterministic and total: any JSON values whatever give values or problems, never an exception.
    """
    desired: dict[str, Desired] = {}
    problems: list[Problem] = []
    by_property = rules.by_property()
    for each in catalog:
        source = _source(each, by_property.get(each.key), traits)
        if source is None:
            continue
        trait, matched_by = source
        try:
            desired[each.key] = Desired(coerce(traits[trait], each.type), trait, matched_by)
        except CannotCoerce as refusal:
            reason = f"{refusal} ({each.key} is a {each.type} property)"
            problems.append(Problem(each.key, trait, traits[trait], reason))
    return Projection(desired, tuple(problems))


def _source(target: Property, rule: Rule | None, traits: Mapping[str, JsonValue]) -> tuple[str, MatchedBy] | None:
    if rule is not None:
        return (rule.trait, MatchedBy.RULE) if rule.trait in traits else None
    if target.key in traits:
        return target.key, MatchedBy.KEY
    if target.name in traits:
        return target.name, MatchedBy.NAME
    return None
