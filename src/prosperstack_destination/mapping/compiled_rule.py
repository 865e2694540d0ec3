"""One rule, made ready to be run."""

from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue

from prosperstack_destination.mapping.catalog import PropertyType
from prosperstack_destination.mapping.coercion import CoercionError, coerce
from prosperstack_destination.mapping.expression_runner import EvaluationError, ExpressionRunner
from prosperstack_destination.mapping.expressions import Expression, compile_expression
from prosperstack_destination.mapping.rules import KEEP, Rule, Scalar
from prosperstack_destination.mapping.transforms import Step, TransformError


class NoValue:
    """What a rule gives that says nothing about its property: it stays as it is."""


NO_VALUE: Final = NoValue()


class RuleError(ValueError):
    """A rule comes to no value; ``value`` is what it started from, ``str()`` says why it ends there."""

    def __init__(self, reason: str, value: JsonValue) -> None:
        super().__init__(reason)
        self.value = value


@dataclass(frozen=True, slots=True)
class ValueSource:
    """Where a value comes from."""

    #: A path into the traits, its first step the trait; None: only the expression tells.
    path: tuple[str, ...] | None
    expression: Expression | None
    #: The traits that it reads: those that it names, and those of audiences where it looks at ``audiences``.
    traits: tuple[str, ...]

    @property
    def reads_traits(self) -> bool:
        """Whether it looks at traits at all."""
        return self.expression is None or "traits" in self.expression.roots

    def read(self, traits: Mapping[str, JsonValue], evaluation: ExpressionRunner) -> JsonValue:
        """The value, None where there is none. Raises `EvaluationError`."""
        if self.path is None:
            assert self.expression is not None  # noqa: S101 -- a source is one or the other
            return evaluation.value(self.expression)
        value: JsonValue = traits.get(self.path[0])
        for step in self.path[1:]:
            value = value.get(step) if isinstance(value, dict) else None
        return value


class CompiledRule:
    """A rule that can be run."""

    def __init__(self, rule: Rule, audiences: Set[str]) -> None:
        self.rule = rule
        self.sources = _sources(rule, audiences)
        self.when = None if rule.when is None else compile_expression(rule.when)
        self.traits = tuple(dict.fromkeys(name for source in self.sources for name in source.traits))
        #: What feeds the property, in few words.
        self.label = _label(rule, self.sources)
        #: It looks at all traits, and names none.
        self._reads_all = not self.traits and any(source.reads_traits for source in self.sources)
        #: The traits that it and its condition read.
        self.rests_on = tuple(dict.fromkeys((*self.traits, *(_read(self.when, audiences) if self.when else ()))))
        self._steps: list[tuple[str, Step]] = [(each.name, each.step()) for each in rule.clean]

    def value(self, traits: Mapping[str, JsonValue], evaluation: ExpressionRunner) -> JsonValue | NoValue:
        """What the rule gives, before it becomes a value of the property's type.

        None deletes: a trait that the rule reads is there, and no value comes of it. Raises `RuleError`.
        """
        raw: JsonValue = None
        value: JsonValue = None
        try:
            if self.when is not None and not evaluation.holds(self.when):
                return NO_VALUE
            for source in self.sources:
                raw = source.read(traits, evaluation)
                value = _blank_to_none(raw)
                if value is not None and self._steps:
                    value = _blank_to_none(self._cleaned(value))
                if value is not None:
                    break
            if value is not None and self.rule.values is not None:
                value = _blank_to_none(self._looked_up(value, self.rule.values))
        except EvaluationError as fault:
            raise RuleError(str(fault), None) from None
        except TransformError as fault:
            raise RuleError(str(fault), raw) from None
        if value is not None:
            return value
        if self.rule.default is not None:
            return self.rule.default
        return None if self._was_fed(traits) else NO_VALUE

    def _was_fed(self, traits: Mapping[str, JsonValue]) -> bool:
        """Whether there ever was anything that it could have made a value of."""
        return any(name in traits for name in self.traits) or (self._reads_all and bool(traits))

    def _cleaned(self, value: JsonValue) -> JsonValue:
        name = ""
        try:
            for name, step in self._steps:  # noqa: B007 -- told where it fails
                if value is None or value == "":
                    return None
                value = step(value)
        except (ValueError, ArithmeticError) as fault:
            reason = str(fault) if isinstance(fault, TransformError) else "the value is too large"
            raise TransformError(f"{name}: {reason}") from None
        return value

    def _looked_up(self, value: JsonValue, table: Mapping[str, Scalar]) -> JsonValue:
        try:
            key = coerce(value, PropertyType.TEXT)
        except CoercionError as refusal:
            if self.rule.fallback == KEEP:
                return value
            raise TransformError(f"values: {refusal}") from None
        if key in table:
            return table[str(key)]
        if self.rule.fallback == KEEP:
            return value
        if self.rule.has_fallback:
            return self.rule.fallback
        raise TransformError("the rule's table (values) lacks it, and the rule has no fallback")


def _blank_to_none(value: JsonValue) -> JsonValue:
    """Return the value, or None for text that is empty or only white space."""
    return None if isinstance(value, str) and (not value or value.isspace()) else value


def _sources(rule: Rule, audiences: Set[str]) -> tuple[ValueSource, ...]:
    if rule.trait is not None:
        return (ValueSource((rule.trait,), None, (rule.trait,)),)
    texts = rule.first_of or (() if rule.from_ is None else (rule.from_,))
    found = [compile_expression(text) for text in texts]
    return tuple(ValueSource(each.path, each, _read(each, audiences)) for each in found)


def _read(expression: Expression, audiences: Set[str]) -> tuple[str, ...]:
    """The traits that an expression reads."""
    return (*expression.traits, *(sorted(audiences) if "audiences" in expression.roots else ()))


def _label(rule: Rule, sources: tuple[ValueSource, ...]) -> str:
    if len(sources) == 1 and sources[0].path is not None and len(sources[0].path) == 1:
        return sources[0].path[0]
    texts = rule.first_of or (() if rule.from_ is None else (rule.from_,))
    return ", ".join(texts) or "default"
