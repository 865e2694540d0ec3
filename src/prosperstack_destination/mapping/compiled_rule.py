"""Compiled rule: a rule with parsed expressions and transforms, which turns traits into a value."""

from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue

from prosperstack_destination.call_facts import SOURCE_FACT, context_fact, source_trait_fact
from prosperstack_destination.mapping.catalog import PropertyType
from prosperstack_destination.mapping.coercion import CoercionError, coerce
from prosperstack_destination.mapping.expression_runner import EvaluationError, ExpressionRunner, MappingInput
from prosperstack_destination.mapping.expressions import Expression, compile_expression
from prosperstack_destination.mapping.functions import NO_CONTEXT, FunctionContext
from prosperstack_destination.mapping.rules import KEEP, Rule, Scalar
from prosperstack_destination.mapping.transforms import Step


class NoValue:
    """Result of a rule that does not apply: the property keeps its value."""


NO_VALUE: Final = NoValue()


class RuleError(ValueError):
    """A rule fails; ``value`` is the value before transforms, ``str()`` the reason."""

    def __init__(self, reason: str, value: JsonValue) -> None:
        super().__init__(reason)
        self.value = value


@dataclass(frozen=True, slots=True)
class ValueSource:
    """Source of a rule's value: a path into the traits, or an expression."""

    #: Path into the traits, beginning with the trait; None if the expression is more than a path.
    path: tuple[str, ...] | None
    expression: Expression | None
    #: Traits that the source reads: those that it names, and all audiences if it uses ``audiences``.
    traits: tuple[str, ...]

    #: Facts that the source reads: see `facts`.
    facts: tuple[str, ...] = ()

    @property
    def reads_traits(self) -> bool:
        """Return whether the source reads any trait."""
        return self.expression is None or "traits" in self.expression.roots

    def read(self, traits: Mapping[str, JsonValue], runner: ExpressionRunner, *, partial: bool) -> JsonValue:
        """Return the value, or None if there is none; ``partial``: not all traits are given.

        Raises `EvaluationError`.
        """
        if self.path is None:
            assert self.expression is not None  # noqa: S101 -- a source has a path or an expression
            return runner.value(self.expression, traits if partial else None)
        value: JsonValue = traits.get(self.path[0])
        for step in self.path[1:]:
            value = value.get(step) if isinstance(value, dict) else None
        return value


class CompiledRule:
    """A rule, ready to be applied to any number of profiles."""

    def __init__(self, rule: Rule, audiences: Set[str], context: FunctionContext = NO_CONTEXT) -> None:
        self.rule = rule
        self.sources = _sources(rule, audiences)
        self.when = None if rule.when is None else compile_expression(rule.when)
        self.traits = tuple(dict.fromkeys(name for source in self.sources for name in source.traits))
        #: Trait or expressions that feed the property, for people.
        self.label = _label(rule, self.sources)
        #: The rule reads the traits as a whole, and names none.
        self._reads_all = not self.traits and any(source.reads_traits for source in self.sources)
        #: Traits that the rule and its condition read.
        condition_traits = () if self.when is None else _traits_read(self.when, audiences)
        self.depends_on = tuple(dict.fromkeys((*self.traits, *condition_traits)))
        read = (*(name for source in self.sources for name in source.facts), *_facts_read(self.when))
        by_source = (source_trait_fact(source, trait) for source in rule.sources or () for trait in self.traits)
        #: Facts that the rule and its condition read.
        self.facts = tuple(dict.fromkeys((*read, *by_source)))
        expressions = (self.when, *(source.expression for source in self.sources))
        #: True if the value depends on the day.
        self.is_of_the_day = any(each is not None and each.is_of_the_day for each in expressions)
        #: The rule reads only what some sources sent.
        self._is_partial = rule.sources is not None
        self._steps: list[tuple[str, Step]] = [
            (transform.name, transform.step(context)) for transform in rule.clean
        ]

    def value(self, profile: MappingInput, runner: ExpressionRunner) -> JsonValue | NoValue:
        """Return the rule's value before coercion, or `NO_VALUE` if the rule does not apply.

        None deletes the property's value: a trait that the rule reads exists, but gives no value.
        Raises `RuleError`.
        """
        raw: JsonValue = None
        value: JsonValue = None
        traits = profile.traits
        try:
            if self.when is not None and not runner.is_true(self.when):
                return NO_VALUE
            if self._is_partial:
                traits = self._traits_by_source(profile)
            for source in self.sources:
                raw = source.read(traits, runner, partial=self._is_partial)
                value = _blank_to_none(raw)
                if value is not None and self._steps:
                    value = _blank_to_none(self._transformed(value))
                if value is not None:
                    break
            if value is not None and self.rule.values is not None:
                value = _blank_to_none(self._looked_up(value, self.rule.values))
        except EvaluationError as error:
            raise RuleError(str(error), None) from None
        except CoercionError as error:
            raise RuleError(str(error), raw) from None
        if value is not None:
            return value
        if self.rule.default is not None:
            return self.rule.default
        return None if self._has_input(traits, profile) else NO_VALUE

    def _has_input(self, traits: Mapping[str, JsonValue], profile: MappingInput) -> bool:
        """Return whether the profile has any trait or fact that the rule reads."""
        if any(name in traits for name in self.traits) or (self._reads_all and bool(traits)):
            return True
        return bool(profile.facts) and any(
            name in profile.facts for source in self.sources for name in source.facts
        )

    def _traits_by_source(self, profile: MappingInput) -> dict[str, JsonValue]:
        """Return the traits as the rule's sources sent them, each as of the latest."""
        by_source: dict[str, JsonValue] = {}
        for trait in self.traits:
            facts = (profile.facts.get(source_trait_fact(source, trait)) for source in self.rule.sources or ())
            latest = max((each for each in facts if each is not None), key=lambda each: each[1], default=None)
            if latest is not None:
                by_source[trait] = latest[0]
        return by_source

    def _transformed(self, value: JsonValue) -> JsonValue:
        name = ""
        try:
            for name, step in self._steps:  # noqa: B007 -- the error names it
                if value is None or value == "":
                    return None
                value = step(value)
        except (ValueError, ArithmeticError) as error:
            reason = str(error) if isinstance(error, CoercionError) else "the value is too large"
            raise CoercionError(f"{name}: {reason}") from None
        return value

    def _looked_up(self, value: JsonValue, table: Mapping[str, Scalar]) -> JsonValue:
        try:
            key = coerce(value, PropertyType.TEXT)
        except CoercionError as error:
            if self.rule.fallback == KEEP:
                return value
            raise CoercionError(f"values: {error}") from None
        if key in table:
            return table[str(key)]
        if self.rule.fallback == KEEP:
            return value
        if self.rule.has_fallback:
            return self.rule.fallback
        raise CoercionError("the rule's table (values) lacks it, and the rule has no fallback")


def _blank_to_none(value: JsonValue) -> JsonValue:
    """Return the value, or None for text that is empty or only white space."""
    return None if isinstance(value, str) and (not value or value.isspace()) else value


def _sources(rule: Rule, audiences: Set[str]) -> tuple[ValueSource, ...]:
    if rule.trait is not None:
        return (ValueSource((rule.trait,), None, (rule.trait,)),)
    texts = rule.first_of or (() if rule.from_ is None else (rule.from_,))
    expressions = [compile_expression(text) for text in texts]
    return tuple(
        ValueSource(each.path, each, _traits_read(each, audiences), _facts_read(each)) for each in expressions
    )


def _facts_read(expression: Expression | None) -> tuple[str, ...]:
    """Return the facts that an expression reads."""
    if expression is None:
        return ()
    source = (SOURCE_FACT,) if "source" in expression.roots else ()
    return (*map(context_fact, expression.context), *source)


def _traits_read(expression: Expression, audiences: Set[str]) -> tuple[str, ...]:
    """Return the traits that an expression reads."""
    return (*expression.traits, *(sorted(audiences) if "audiences" in expression.roots else ()))


def _label(rule: Rule, sources: tuple[ValueSource, ...]) -> str:
    if len(sources) == 1 and sources[0].path is not None and len(sources[0].path) == 1:
        return sources[0].path[0]
    texts = rule.first_of or (() if rule.from_ is None else (rule.from_,))
    return ", ".join(texts) or "default"
