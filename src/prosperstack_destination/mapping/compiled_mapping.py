"""From what is known of a person to the properties that ProsperStack should have for them."""

from collections.abc import Callable, Iterable, Mapping, Set
from copy import copy
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue

from prosperstack_destination.mapping.catalog import Catalog, Property
from prosperstack_destination.mapping.coercion import CoercionError, PropertyValue, coercer
from prosperstack_destination.mapping.compiled_rule import CompiledRule, NoValue, RuleError
from prosperstack_destination.mapping.expression_runner import NO_AUDIENCES, ExpressionRunner, MappingInput
from prosperstack_destination.mapping.name_matching import normalize
from prosperstack_destination.mapping.projection import DesiredValue, MappingProblem, MatchedBy, Projection
from prosperstack_destination.mapping.rules import NO_RULES, SUBSCRIPTION, Rules

__all__ = ["CompiledMapping", "DesiredValue", "MappingProblem", "MatchedBy", "Projection", "project"]

_NO_CATALOG: Final = Catalog()


@dataclass(frozen=True, slots=True)
class PropertyStep:
    """How one property gets its value."""

    target: Property
    #: Makes a value one of its type.
    coerce: Callable[[JsonValue], PropertyValue]
    #: What it is called in rules and problems.
    name: str
    #: Its rule; None: the trait of its key, or of its name.
    rule: CompiledRule | None


class CompiledMapping:
    """An account's rules and catalog, made ready once for any number of people.

    For each property: the account's rule for it, and nothing else where there is one; otherwise the trait
    whose name is exactly the property's key; otherwise the trait whose name is exactly its name; otherwise, where
    names are forgiven, one that differs in case, spaces and underscores. A trait that is there with null counts as
    there: it deletes. Properties of subscriptions take nothing but rules.
    """

    def __init__(
        self,
        catalog: Catalog,
        rules: Rules = NO_RULES,
        *,
        subscription: Catalog = _NO_CATALOG,
        audiences: Set[str] = NO_AUDIENCES,
    ) -> None:
        by_property = {rule.property: rule for rule in rules.rules}
        ready = {key: CompiledRule(rule, audiences) for key, rule in by_property.items() if not rule.ignore}
        off = {key for key, rule in by_property.items() if rule.ignore}
        self.catalog = catalog
        self.rules = rules
        #: The properties that may get a value, in the order of the catalog.
        self.steps = [
            PropertyStep(each, coercer(each.type), each.key, ready.get(each.key))
            for each in catalog
            if each.key not in off
        ]
        named = ((each, SUBSCRIPTION + each.key) for each in subscription)
        self.subscription_steps = [
            PropertyStep(each, coercer(each.type), name, ready[name]) for each, name in named if name in ready
        ]
        #: The traits that are audiences of Engage.
        self.audiences = audiences
        self._exact = {name for each in catalog for name in (each.key, each.name)}
        self._automatic_names = rules.forgiving_names
        by_name = (name for step in self.steps if step.rule is None for name in (step.target.key, step.target.name))
        by_rules = (name for rule in ready.values() for name in rule.rests_on)
        self._read = frozenset((*by_name, *by_rules)) | audiences
        self._forgiven_read = frozenset(map(normalize, self._exact)) if rules.forgiving_names else frozenset()

    def reads(self, trait: str) -> bool:
        """Whether a property or a rule may take something from this trait."""
        return trait in self._read or (bool(self._forgiven_read) and normalize(trait) in self._forgiven_read)

    def diff(self, other: "CompiledMapping") -> tuple["CompiledMapping", "CompiledMapping"]:
        """This plan and another one, without the properties that get their values in the same way in both.

        What the two make of a person differs just where these do, and they are quicker.
        """
        one, theirs = self._ways(), other._ways()
        same = {name for name, way in one.items() if theirs.get(name) == way}
        return self._without(same), other._without(same)

    def _ways(self) -> dict[str, object]:
        """How each property gets its value, by its name in rules; equal where it is the same way."""
        # What forgiven names match depends on all the others.
        forgiving = frozenset(self._exact) if self._automatic_names else None
        return {
            step.name: (step.target, forgiving)
            if step.rule is None
            else (step.target, step.rule.rule, self.audiences)
            for step in (*self.steps, *self.subscription_steps)
        }

    def _without(self, names: Set[str]) -> "CompiledMapping":
        plan = copy(self)
        plan.steps = [step for step in self.steps if step.name not in names]
        plan.subscription_steps = [step for step in self.subscription_steps if step.name not in names]
        return plan

    def project(self, person: MappingInput) -> Projection:
        """Map a person to desired properties.

        Deterministic and total: any JSON values whatever give values or problems, never an exception.
        """
        traits = person.traits
        problems: list[MappingProblem] = []
        desired: dict[str, DesiredValue] = {}
        evaluation = ExpressionRunner(lambda: person.context(self.audiences))
        forgiven: Mapping[str, str] | None = None
        for step in self.steps:
            target = step.target
            if step.rule is not None:
                _by_rule(step, step.rule, traits, evaluation, desired, problems)
                continue
            if target.key in traits:
                trait, matched_by = target.key, MatchedBy.KEY
            elif target.name in traits:
                trait, matched_by = target.name, MatchedBy.NAME
            elif self._automatic_names:
                forgiven = self._forgiven(traits) if forgiven is None else forgiven
                found = forgiven.get(normalize(target.key)) or forgiven.get(normalize(target.name))
                if found is None:
                    continue
                trait, matched_by = found, MatchedBy.FORGIVING
            else:
                continue
            value = traits[trait]
            try:
                desired[target.key] = DesiredValue(step.coerce(value), trait, matched_by)
            except CoercionError as refusal:
                problems.append(MappingProblem(target.key, trait, value, _reason(refusal, step)))
        if not self.subscription_steps:
            return Projection(desired, tuple(problems))
        theirs: dict[str, DesiredValue] = {}
        for step in self.subscription_steps:
            assert step.rule is not None  # noqa: S101 -- there is no other way to feed them
            _by_rule(step, step.rule, traits, evaluation, theirs, problems)
        return Projection(desired, tuple(problems), theirs)

    def _forgiven(self, traits: Iterable[str]) -> dict[str, str]:
        """Forgiving names to traits; of several the first in the alphabet, and none that a property is exactly."""
        return {normalize(name): name for name in sorted(traits, reverse=True) if name not in self._exact}


def project(traits: Mapping[str, JsonValue], catalog: Catalog, rules: Rules = NO_RULES) -> Projection:
    """Map one person's traits: a `Plan` for a single use."""
    return CompiledMapping(catalog, rules).project(MappingInput(traits))


def _by_rule(
    step: PropertyStep,
    rule: CompiledRule,
    traits: Mapping[str, JsonValue],
    evaluation: ExpressionRunner,
    desired: dict[str, DesiredValue],
    problems: list[MappingProblem],
) -> None:
    value: JsonValue | NoValue = None
    try:
        value = rule.value(traits, evaluation)
        if not isinstance(value, NoValue):
            found = step.coerce(value)
            desired[step.target.key] = DesiredValue(found, rule.label, MatchedBy.RULE, rule.rests_on)
    except RuleError as fault:
        problems.append(MappingProblem(step.name, rule.label, fault.value, _reason(fault, step), rule.rests_on))
    except CoercionError as refusal:
        shown = None if isinstance(value, NoValue) else value
        problems.append(MappingProblem(step.name, rule.label, shown, _reason(refusal, step), rule.rests_on))


def _reason(fault: Exception, step: PropertyStep) -> str:
    return f"{fault} ({step.name} is a {step.target.type} property)"
