"""What feeds what: of each property who fills it, of each trait who takes it, or who most likely would."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from pydantic import JsonValue

from prosperstack_destination.mapping.catalog import Property, PropertyType
from prosperstack_destination.mapping.coercion import CoercionError, PropertyValue, coerce
from prosperstack_destination.mapping.compiled_mapping import CompiledMapping
from prosperstack_destination.mapping.expression_runner import MappingInput
from prosperstack_destination.mapping.name_matching import MIN_SIMILARITY, similarity
from prosperstack_destination.mapping.projection import DesiredValue, Projection
from prosperstack_destination.mapping.rules import SUBSCRIPTION

#: Traits that are told apart; a script that makes up names must not fill the memory.
MAX_TRAITS: Final = 2_000
#: How long a sample is shown, in characters of its text.
SAMPLE: Final = 200

Stamped = tuple[JsonValue, int]


@dataclass(frozen=True, slots=True)
class PropertyCoverage:
    """How one property is filled."""

    #: Its key, as rules name it.
    property: str
    name: str
    type: PropertyType
    #: What feeds it, and why: rule, key, name, forgiving; the most frequent first. Empty: nothing does.
    fed_by: tuple[tuple[str, str], ...]
    #: It has a rule that switches it off.
    ignored: bool
    #: Profiles that give it a value, and whose trait cannot be one.
    filled: int
    problems: int
    #: Of the profile whose trait is the newest.
    sample: PropertyValue


@dataclass(frozen=True, slots=True)
class TraitCoverage:
    """Where one trait goes."""

    trait: str
    #: Profiles that have it.
    seen: int
    #: The properties that take it, by their keys.
    feeds: tuple[str, ...]
    #: Where none does: the property whose name is likest, and how alike they are, of 100.
    likeliest: str | None
    alike: float
    #: What a property for it would be; None: its values are none of a property's.
    type: PropertyType | None
    sample: JsonValue
    #: It is one of Engage's audiences.
    audience: bool = False


@dataclass(slots=True)
class _Property:
    fed_by: Counter[tuple[str, str]] = field(default_factory=Counter)
    filled: int = 0
    problems: int = 0
    sample: PropertyValue = None
    sample_at: int = -1


@dataclass(slots=True)
class _Trait:
    seen: int = 0
    feeds: set[str] = field(default_factory=set)
    types: set[PropertyType | None] = field(default_factory=set)
    sample: JsonValue = None
    sample_at: int = -1


class Coverage:
    """Counts profiles, one after the other. What it holds does not grow with their number."""

    def __init__(self, plan: CompiledMapping) -> None:
        self._plan = plan
        #: Profiles that were counted.
        self.profiles = 0
        self._properties: dict[str, _Property] = {}
        self._traits: dict[str, _Trait] = {}

    def count(self, traits: Mapping[str, Stamped], person: MappingInput) -> None:
        """One more profile: its traits with their times, and the same as the mapping sees it."""
        self.profiles += 1
        for name, (value, at) in traits.items():
            self._count_trait(name, value, at)
        self._count_projection(self._plan.project(person), traits)

    def properties(self) -> Iterator[PropertyCoverage]:
        """The account's properties, in the order of the catalog."""
        named = [(each, each.key) for each in self._plan.catalog]
        named += [(step.target, step.name) for step in self._plan.subscription_steps]
        off = {rule.property for rule in self._plan.rules.rules if rule.ignore}
        for target, name in named:
            found = self._properties.get(name, _Property())
            yield PropertyCoverage(
                property=name,
                name=target.name,
                type=target.type,
                fed_by=tuple(key for key, _ in found.fed_by.most_common()),
                ignored=name in off,
                filled=found.filled,
                problems=found.problems,
                sample=found.sample,
            )

    def traits(self) -> Iterator[TraitCoverage]:
        """The traits that were seen, the most frequent first."""
        fed = {name for name, found in self._properties.items() if found.filled}
        for name, found in sorted(self._traits.items(), key=lambda item: (-item[1].seen, item[0])):
            likeliest, score = (None, 0.0) if found.feeds else suggest_property(name, self._plan, fed)
            yield TraitCoverage(
                trait=name,
                seen=found.seen,
                feeds=tuple(sorted(found.feeds)),
                likeliest=likeliest,
                alike=round(score),
                type=_common(found.types),
                sample=found.sample,
                audience=name in self._plan.audiences,
            )

    def _count_trait(self, name: str, value: JsonValue, at: int) -> None:
        found = self._traits.get(name)
        if found is None:
            if len(self._traits) >= MAX_TRAITS:
                return
            found = self._traits[name] = _Trait()
        found.seen += 1
        if value is not None and value != "":
            found.types.add(type_of(value))
        if at > found.sample_at:
            found.sample, found.sample_at = _short(value), at

    def _count_projection(self, projection: Projection, traits: Mapping[str, Stamped]) -> None:
        for key, desired in projection.desired.items():
            self._count_desired(key, desired, traits)
        for key, desired in projection.subscription.items():
            self._count_desired(SUBSCRIPTION + key, desired, traits)
        for problem in projection.problems:
            found = self._properties.setdefault(problem.property, _Property())
            found.problems += 1
            self._takes(problem.property, problem.traits)

    def _count_desired(self, name: str, desired: DesiredValue, traits: Mapping[str, Stamped]) -> None:
        found = self._properties.setdefault(name, _Property())
        found.fed_by[desired.trait, desired.matched_by.value] += 1
        self._takes(name, desired.traits)
        if desired.value is None:
            return
        found.filled += 1
        at = max((traits[trait][1] for trait in desired.traits if trait in traits), default=0)
        if at > found.sample_at:
            sample = desired.value
            found.sample, found.sample_at = sample[:SAMPLE] if isinstance(sample, str) else sample, at

    def _takes(self, name: str, traits: tuple[str, ...]) -> None:
        for trait in traits:
            if trait in self._traits:
                self._traits[trait].feeds.add(name)


def suggest_property(trait: str, plan: CompiledMapping, fed: set[str]) -> tuple[str | None, float]:
    """The property whose key or name is likest to a trait's, and how alike they are; of equals one that is free."""
    best: tuple[float, bool, str] | None = None
    for each in plan.catalog:
        score = _alike(trait, each)
        if score >= MIN_SIMILARITY:
            best = max(best or (0.0, False, ""), (score, each.key not in fed, each.key))
    return (None, 0.0) if best is None else (best[2], best[0])


def type_of(value: JsonValue) -> PropertyType | None:
    """The type of a property that would take a value as it is; None for arrays and objects."""
    if isinstance(value, bool):
        return PropertyType.BOOLEAN
    if isinstance(value, int | float):
        return PropertyType.NUMBER
    if not isinstance(value, str):
        return None
    if len(value) >= len("2021-05-04") and value[4:5] == "-":
        try:
            coerce(value, PropertyType.DATE)
        except CoercionError:
            return PropertyType.TEXT
        return PropertyType.DATE
    return PropertyType.TEXT


def _common(types: set[PropertyType | None]) -> PropertyType | None:
    """The type that takes all; text takes every single value."""
    if len(types) == 1:
        return next(iter(types))
    return None if None in types or not types else PropertyType.TEXT


def _alike(trait: str, target: Property) -> float:
    return max(similarity(trait, target.key), similarity(trait, target.name))


def _short(value: JsonValue) -> JsonValue:
    """A sample of bounded size."""
    if isinstance(value, str):
        return value[:SAMPLE]
    if isinstance(value, list | dict):
        text = str(value)
        return value if len(text) <= SAMPLE else text[:SAMPLE]
    return value
