"""Coverage: the traits that feed each property, and the properties that each trait feeds or could feed."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from pydantic import JsonValue

from prosperstack_destination.mapping.catalog import PropertyType
from prosperstack_destination.mapping.coercion import CoercionError, PropertyValue, coerce
from prosperstack_destination.mapping.compiled_mapping import CompiledMapping
from prosperstack_destination.mapping.expression_runner import MappingInput
from prosperstack_destination.mapping.name_matching import MIN_SIMILARITY, similarity
from prosperstack_destination.mapping.projection import DesiredValue, Projection
from prosperstack_destination.mapping.rules import SUBSCRIPTION

#: Most traits that are counted, so that a source with generated names cannot fill the memory.
MAX_TRAITS: Final = 2_000
#: Longest sample, in characters of its text.
SAMPLE: Final = 200

#: A trait's value and its event time, in microseconds since the epoch.
Stamped = tuple[JsonValue, int]


@dataclass(frozen=True, slots=True)
class PropertyCoverage:
    """Traits that feed one property, and the number of profiles with a value."""

    #: Key of the property, as rules name it.
    property: str
    name: str
    type: PropertyType
    #: Trait or expression and the reason (rule, key, name, forgiving), most frequent first; empty if nothing feeds
    #: the property.
    fed_by: tuple[tuple[str, str], ...]
    #: True if a rule switches the property off.
    ignored: bool
    #: Profiles with a value.
    filled: int
    #: Profiles with a mapping problem.
    problems: int
    #: Value in the profile with the newest trait.
    sample: PropertyValue


@dataclass(frozen=True, slots=True)
class TraitCoverage:
    """Properties that one trait feeds, or the most similar one."""

    trait: str
    #: Profiles with the trait.
    seen: int
    #: Keys of the properties that the trait feeds.
    feeds: tuple[str, ...]
    #: Key of the property with the most similar name, if the trait feeds none.
    likeliest: str | None
    #: Similarity of the two names, from 0 to 100.
    alike: float
    #: Type of a property for the trait; None if no type takes all of its values.
    type: PropertyType | None
    sample: JsonValue
    #: True if the trait is an audience of Engage.
    audience: bool = False


@dataclass(slots=True)
class _PropertyCounters:
    fed_by: Counter[tuple[str, str]] = field(default_factory=Counter)
    filled: int = 0
    problems: int = 0
    sample: PropertyValue = None
    sample_at: int = -1


@dataclass(slots=True)
class _TraitCounters:
    seen: int = 0
    feeds: set[str] = field(default_factory=set)
    types: set[PropertyType | None] = field(default_factory=set)
    sample: JsonValue = None
    sample_at: int = -1


class Coverage:
    """Counters over profiles. Memory does not grow with the number of profiles."""

    def __init__(self, mapping: CompiledMapping) -> None:
        self._mapping = mapping
        #: Profiles counted so far.
        self.profiles = 0
        self._properties: dict[str, _PropertyCounters] = {}
        self._traits: dict[str, _TraitCounters] = {}

    def count(self, traits: Mapping[str, Stamped], profile: MappingInput) -> None:
        """Count one profile: its traits with their times, and the mapping's view of it."""
        self.profiles += 1
        for name, (value, at) in traits.items():
            self._count_trait(name, value, at)
        self._count_projection(self._mapping.project(profile), traits)

    def properties(self) -> Iterator[PropertyCoverage]:
        """Yield the coverage of the account's properties, in the order of the catalog."""
        named = [(prop, prop.key) for prop in self._mapping.catalog]
        named += [(step.target, step.name) for step in self._mapping.subscription_steps]
        ignored = {rule.property for rule in self._mapping.rules.rules if rule.ignore}
        for target, name in named:
            counters = self._properties.get(name, _PropertyCounters())
            yield PropertyCoverage(
                property=name,
                name=target.name,
                type=target.type,
                fed_by=tuple(key for key, _ in counters.fed_by.most_common()),
                ignored=name in ignored,
                filled=counters.filled,
                problems=counters.problems,
                sample=counters.sample,
            )

    def traits(self) -> Iterator[TraitCoverage]:
        """Yield the coverage of the traits, most frequent first."""
        fed = {name for name, counters in self._properties.items() if counters.filled}
        for name, counters in sorted(self._traits.items(), key=lambda item: (-item[1].seen, item[0])):
            likeliest, score = (None, 0.0) if counters.feeds else suggest_property(name, self._mapping, fed)
            yield TraitCoverage(
                trait=name,
                seen=counters.seen,
                feeds=tuple(sorted(counters.feeds)),
                likeliest=likeliest,
                alike=round(score),
                type=_common(counters.types),
                sample=counters.sample,
                audience=name in self._mapping.audiences,
            )

    def _count_trait(self, name: str, value: JsonValue, at: int) -> None:
        counters = self._traits.get(name)
        if counters is None:
            if len(self._traits) >= MAX_TRAITS:
                return
            counters = self._traits[name] = _TraitCounters()
        counters.seen += 1
        if value is not None and value != "":
            counters.types.add(infer_type(value))
        if at > counters.sample_at:
            counters.sample, counters.sample_at = _sample(value), at

    def _count_projection(self, projection: Projection, traits: Mapping[str, Stamped]) -> None:
        for key, desired in projection.desired.items():
            self._count_desired(key, desired, traits)
        for key, desired in projection.subscription.items():
            self._count_desired(SUBSCRIPTION + key, desired, traits)
        for problem in projection.problems:
            counters = self._properties.setdefault(problem.property, _PropertyCounters())
            counters.problems += 1
            self._feed(problem.property, problem.traits)

    def _count_desired(self, name: str, desired: DesiredValue, traits: Mapping[str, Stamped]) -> None:
        counters = self._properties.setdefault(name, _PropertyCounters())
        counters.fed_by[desired.trait, desired.matched_by.value] += 1
        self._feed(name, desired.traits)
        if desired.value is None:
            return
        counters.filled += 1
        at = max((traits[trait][1] for trait in desired.traits if trait in traits), default=0)
        if at > counters.sample_at:
            sample = desired.value
            counters.sample, counters.sample_at = sample[:SAMPLE] if isinstance(sample, str) else sample, at

    def _feed(self, name: str, traits: tuple[str, ...]) -> None:
        for trait in traits:
            if trait in self._traits:
                self._traits[trait].feeds.add(name)


def suggest_property(trait: str, mapping: CompiledMapping, fed: set[str]) -> tuple[str | None, float]:
    """Return the property with the most similar key or name and the similarity, or (None, 0).

    Of equally similar properties, one without a source (not in ``fed``) wins.
    """
    best: tuple[float, bool, str] | None = None
    for prop in mapping.catalog:
        score = max(similarity(trait, prop.key), similarity(trait, prop.name))
        if score >= MIN_SIMILARITY:
            best = max(best or (0.0, False, ""), (score, prop.key not in fed, prop.key))
    return (None, 0.0) if best is None else (best[2], best[0])


def infer_type(value: JsonValue) -> PropertyType | None:
    """Return the type of a property that takes the value unchanged; None for arrays, objects and null."""
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
    """Return the type that takes values of all these types; text takes any value but arrays and objects."""
    if len(types) == 1:
        return next(iter(types))
    return None if None in types or not types else PropertyType.TEXT


def _sample(value: JsonValue) -> JsonValue:
    """Return a sample of bounded size."""
    if isinstance(value, str):
        return value[:SAMPLE]
    if isinstance(value, list | dict):
        text = str(value)
        return value if len(text) <= SAMPLE else text[:SAMPLE]
    return value
