"""Compiled mapping: turns a profile's traits into desired properties."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from copy import copy
from dataclasses import dataclass
from itertools import chain
from typing import Final

from pydantic import JsonValue

from prosperstack_destination.mapping.catalog import Catalog, Property
from prosperstack_destination.mapping.coercion import CoercionError, PropertyValue, coercer
from prosperstack_destination.mapping.compiled_rule import CompiledRule, NoValue, RuleError
from prosperstack_destination.mapping.expression_runner import NO_AUDIENCES, ExpressionRunner, MappingInput
from prosperstack_destination.mapping.functions import NO_CONTEXT, FunctionContext
from prosperstack_destination.mapping.name_matching import normalize
from prosperstack_destination.mapping.projection import DesiredValue, MappingProblem, MatchedBy, Projection
from prosperstack_destination.mapping.rules import NO_RULES, SUBSCRIPTION, Rules

__all__ = ["CompiledMapping", "DesiredValue", "MappingProblem", "MatchedBy", "Projection", "project"]

_NO_CATALOG: Final = Catalog()
#: Runner of mappings without rules, which is never used.
_NO_RUNNER: Final = ExpressionRunner(dict)


@dataclass(frozen=True, slots=True)
class PropertyStep:
    """Source of one property's value."""

    target: Property
    #: Coercion to the property's type.
    coerce: Callable[[JsonValue], PropertyValue]
    #: Name of the property in rules and problems.
    name: str
    #: Rule of the property; None if the trait with its key or its name feeds it.
    rule: CompiledRule | None


class CompiledMapping:
    """An account's rules and catalog, compiled once for any number of profiles.

    The first of these sources feeds a property: its rule; the trait whose name is exactly its key; the trait whose
    name is exactly its name; with `forgiving_names`, a trait whose name differs from these only in case, spaces and
    underscores. A trait that is null exists, and deletes the value. Only rules feed properties of subscriptions.
    """

    def __init__(
        self,
        catalog: Catalog,
        rules: Rules = NO_RULES,
        *,
        subscription: Catalog = _NO_CATALOG,
        audiences: Set[str] = NO_AUDIENCES,
        context: FunctionContext = NO_CONTEXT,
    ) -> None:
        by_property = {rule.property: rule for rule in rules.rules}
        compiled = {
            key: CompiledRule(rule, audiences, context) for key, rule in by_property.items() if not rule.ignore
        }
        ignored = {key for key, rule in by_property.items() if rule.ignore}
        self.catalog = catalog
        self.rules = rules
        #: Properties that may get a value, in the order of the catalog.
        self.steps = [
            PropertyStep(prop, coercer(prop.type), prop.key, compiled.get(prop.key))
            for prop in catalog
            if prop.key not in ignored
        ]
        named = ((prop, SUBSCRIPTION + prop.key) for prop in subscription)
        self.subscription_steps = [
            PropertyStep(prop, coercer(prop.type), name, compiled[name]) for prop, name in named if name in compiled
        ]
        #: Traits that are audiences of Engage.
        self.audiences = audiences
        #: True if any value depends on the day.
        self.is_of_the_day = any(rule.is_of_the_day for rule in compiled.values())
        #: Facts that rules read: see `facts`.
        self.facts = frozenset(name for rule in compiled.values() for name in rule.facts)
        self._context = context
        self._has_rules = bool(compiled)
        self._exact = {name for prop in catalog for name in (prop.key, prop.name)}
        self._automatic_names = rules.forgiving_names
        by_name = (name for step in self.steps if step.rule is None for name in (step.target.key, step.target.name))
        by_rules = (name for rule in compiled.values() for name in rule.depends_on)
        self._read = frozenset((*by_name, *by_rules)) | audiences | self.facts
        self._forgiven_read = frozenset(map(normalize, self._exact)) if rules.forgiving_names else frozenset()

    def reads(self, trait: str) -> bool:
        """Return whether a property or a rule may read this trait."""
        return trait in self._read or (bool(self._forgiven_read) and normalize(trait) in self._forgiven_read)

    def diff(
        self, other: "CompiledMapping", *, other_day: bool = False
    ) -> tuple["CompiledMapping", "CompiledMapping"]:
        """Return this mapping and another one, both without the properties whose sources are equal.

        Comparing the two results for a profile finds every difference, in less time than the whole mappings take.
        With ``other_day`` they are compared as of different days: properties that depend on the day stay.
        """
        sources, other_sources = self._sources(), other._sources()
        equal = {name for name, source in sources.items() if other_sources.get(name) == source}
        if other_day:
            equal -= {step.name for step in self._all_steps() if step.rule is not None and step.rule.is_of_the_day}
        return self._without(equal), other._without(equal)

    def _sources(self) -> dict[str, object]:
        """Return the source of each property by its name in rules, as values that can be compared."""
        # The match of a forgiven name depends on the names of all other properties.
        forgiving = frozenset(self._exact) if self._automatic_names else None
        return {
            step.name: (step.target, forgiving)
            if step.rule is None
            else (step.target, step.rule.rule, self.audiences, self._context)
            for step in self._all_steps()
        }

    def _all_steps(self) -> Iterator[PropertyStep]:
        return chain(self.steps, self.subscription_steps)

    def _without(self, names: Set[str]) -> "CompiledMapping":
        mapping = copy(self)
        mapping.steps = [step for step in self.steps if step.name not in names]
        mapping.subscription_steps = [step for step in self.subscription_steps if step.name not in names]
        return mapping

    def project(self, profile: MappingInput) -> Projection:
        """Map a profile to desired properties.

        Deterministic and total: any JSON values give values or problems, never an exception.
        """
        traits = profile.traits
        problems: list[MappingProblem] = []
        desired: dict[str, DesiredValue] = {}
        runner = _NO_RUNNER
        if self._has_rules:
            runner = ExpressionRunner(lambda: self._input(profile), functions=lambda: self._functions(profile))
        normalized: Mapping[str, str] | None = None
        for step in self.steps:
            target = step.target
            if step.rule is not None:
                _apply_rule(step, step.rule, profile, runner, desired, problems)
                continue
            if target.key in traits:
                trait, matched_by = target.key, MatchedBy.KEY
            elif target.name in traits:
                trait, matched_by = target.name, MatchedBy.NAME
            elif self._automatic_names:
                normalized = self._normalized(traits) if normalized is None else normalized
                match = normalized.get(normalize(target.key)) or normalized.get(normalize(target.name))
                if match is None:
                    continue
                trait, matched_by = match, MatchedBy.FORGIVING
            else:
                continue
            value = traits[trait]
            try:
                desired[target.key] = DesiredValue(step.coerce(value), trait, matched_by)
            except CoercionError as error:
                problems.append(MappingProblem(target.key, trait, value, _reason(error, step)))
        if not self.subscription_steps:
            return Projection(desired, tuple(problems))
        subscription: dict[str, DesiredValue] = {}
        for step in self.subscription_steps:
            assert step.rule is not None  # noqa: S101 -- only rules feed them
            _apply_rule(step, step.rule, profile, runner, subscription, problems)
        return Projection(desired, tuple(problems), subscription)

    def _input(self, profile: MappingInput) -> dict[str, JsonValue]:
        """Return the input of expressions."""
        context = profile.context(self.audiences)
        if self.is_of_the_day and profile.now is not None:
            context["now"] = self._functions(profile).today.isoformat()
        return context

    def _functions(self, profile: MappingInput) -> FunctionContext:
        return FunctionContext(profile.now, self._context.zone, self._context.secret)

    def _normalized(self, traits: Iterable[str]) -> dict[str, str]:
        """Return the traits by normalized name, without those that match a property exactly.

        Of several traits with one normalized name, the first in the alphabet counts.
        """
        return {normalize(name): name for name in sorted(traits, reverse=True) if name not in self._exact}


def project(traits: Mapping[str, JsonValue], catalog: Catalog, rules: Rules = NO_RULES) -> Projection:
    """Map the traits of one profile."""
    return CompiledMapping(catalog, rules).project(MappingInput(traits))


def _apply_rule(
    step: PropertyStep,
    rule: CompiledRule,
    profile: MappingInput,
    runner: ExpressionRunner,
    desired: dict[str, DesiredValue],
    problems: list[MappingProblem],
) -> None:
    value: JsonValue | NoValue = None
    try:
        value = rule.value(profile, runner)
        if not isinstance(value, NoValue):
            coerced = step.coerce(value)
            desired[step.target.key] = DesiredValue(coerced, rule.label, MatchedBy.RULE, rule.depends_on)
    except RuleError as error:
        problems.append(MappingProblem(step.name, rule.label, error.value, _reason(error, step), rule.depends_on))
    except CoercionError as error:
        uncoerced = None if isinstance(value, NoValue) else value
        problems.append(MappingProblem(step.name, rule.label, uncoerced, _reason(error, step), rule.depends_on))


def _reason(error: Exception, step: PropertyStep) -> str:
    return f"{error} ({step.name} is a {step.target.type} property)"
