"""Rules: an account's mapping, in the form of the mapping file. A rule takes precedence over matching names."""

import builtins
import math
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Annotated, Final, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StringConstraints,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from prosperstack_destination.errors import UnreadableMapping
from prosperstack_destination.mapping.call_rules import CallOptions, dump_call_rules
from prosperstack_destination.mapping.expressions import MAX_LENGTH, InvalidExpression, compile_expression
from prosperstack_destination.mapping.transforms import Transform, expand_short_forms

#: Most rules of one account. ProsperStack shows far fewer properties.
MAX_RULES: Final = 500
#: Most entries of one lookup table.
MAX_VALUES: Final = 5_000
#: Prefix of the key of a property of subscriptions in a rule.
SUBSCRIPTION: Final = "subscription."
#: Fallback that sends a value unchanged if the lookup table lacks it.
KEEP: Final = "keep"


Number = TypeVar("Number", int, float)


def _check_finite(number: Number) -> Number:
    """Return a number that JSON can express. Raises `ValueError` for infinities and NaN."""
    try:
        fits = math.isfinite(number)
    except OverflowError:
        fits = False
    if not fits:
        raise ValueError("the number is too large, or not a number: write a finite number")
    return number


#: Single value in a mapping file.
Scalar = (
    StrictBool
    | Annotated[int, AfterValidator(_check_finite)]
    | Annotated[float, AfterValidator(_check_finite)]
    | str
    | None
)
ExpressionText = Annotated[str, StringConstraints(min_length=1, max_length=MAX_LENGTH)]

_SOURCES: Final = ("from", "trait", "first_of")


class CreateMissing(StrEnum):
    """Traits for which a property is created in ProsperStack if no property takes them."""

    NONE = "none"
    #: Audiences of Engage, as booleans.
    AUDIENCES = "audiences"
    #: All traits, audiences included.
    TRAITS = "traits"


class Rule(BaseModel):
    """Source and transforms of one property, in place of the trait with its key or its name."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_by_name=True, validate_by_alias=True)

    property: Annotated[
        str,
        Field(
            min_length=1,
            max_length=200,
            description="The key of the property, with the prefix `subscription.` for a property of subscriptions.",
        ),
    ]
    from_: Annotated[
        ExpressionText | None,
        Field(
            alias="from",
            description="The source of the value: JMESPath over traits, context, source, audiences, userId, "
            "anonymousId and now, e.g. traits.address.city.",
        ),
    ] = None
    trait: Annotated[
        str | None,
        Field(
            min_length=1, max_length=1000, description="The exact name of a trait, for a source that is one trait."
        ),
    ] = None
    first_of: Annotated[
        tuple[ExpressionText, ...] | None,
        Field(
            min_length=1,
            max_length=20,
            description="Several sources: the first that gives a value after the transforms counts.",
        ),
    ] = None
    when: Annotated[
        ExpressionText | None,
        Field(description="A JMESPath condition. If it is false, the rule does not apply: the value stays."),
    ] = None
    sources: Annotated[
        tuple[Annotated[str, StringConstraints(min_length=1, max_length=500)], ...] | None,
        Field(
            min_length=1,
            max_length=20,
            description="IDs or names of Segment sources: only traits that they sent feed the property.",
        ),
    ] = None
    clean: Annotated[
        tuple[Transform, ...], Field(max_length=20, description="Transforms, which run in this order.")
    ] = ()
    values: Annotated[
        Mapping[str, Scalar] | None,
        Field(
            max_length=MAX_VALUES,
            description="A lookup table: the value after the transforms, to the value that is sent.",
        ),
    ] = None
    fallback: Annotated[
        Scalar,
        Field(
            description="The value that is sent if `values` lacks an entry; without a fallback that is a problem. "
            "`keep` sends the value unchanged if it fits the property."
        ),
    ] = None
    default: Annotated[Scalar, Field(description="The value that is sent if the rule gives none.")] = None
    ignore: Annotated[StrictBool, Field(description="Switch the property off: no trait feeds it.")] = False

    @model_validator(mode="before")
    @classmethod
    def _expand_short_forms(cls, data: object) -> object:
        return expand_short_forms(data)

    @field_validator("from_", "when")
    @classmethod
    def _expression(cls, text: str | None) -> str | None:
        if text is not None:
            _check_expression(text)
        return text

    @field_validator("first_of")
    @classmethod
    def _expressions(cls, texts: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for text in texts or ():
            _check_expression(text)
        return texts

    @model_validator(mode="after")
    def _check_source(self) -> "Rule":
        sources = [
            name for name, value in zip(_SOURCES, (self.from_, self.trait, self.first_of), strict=True) if value
        ]
        if self.ignore:
            if self.model_fields_set - {"property", "ignore"}:
                raise ValueError("ignore: true switches the property off: remove the other keys of its rule")
        elif len(sources) > 1:
            raise ValueError(
                f"{' and '.join(sources)} are both in the rule: keep one of them (first_of takes several sources)"
            )
        elif not sources and self.default is None:
            raise ValueError("the rule has no source: add from, e.g. `from: traits.plan`, or first_of")
        if self.sources is not None and not self._traits_named():
            raise ValueError("the rule has sources: name the traits that they send, e.g. from: traits.plan")
        if "fallback" in self.model_fields_set and self.values is None:
            raise ValueError(
                "fallback is for values that the table lacks, and the rule has no table: add values, or use default"
            )
        return self

    def _traits_named(self) -> bool:
        """Return whether each source of the value names a trait."""
        texts = self.first_of or (() if self.from_ is None else (self.from_,))
        return self.trait is not None or (bool(texts) and all(compile_expression(text).traits for text in texts))

    def expressions(self) -> Iterator[str]:
        """Yield the rule's expressions."""
        yield from (text for text in (self.from_, *(self.first_of or ()), self.when) if text is not None)

    @builtins.property
    def source(self) -> str:
        """Return the source of the value, for people."""
        if self.trait is not None:
            return f"the trait {self.trait!r}"
        return ", ".join(self.first_of or (() if self.from_ is None else (self.from_,))) or "its default alone"

    @builtins.property
    def has_fallback(self) -> bool:
        """Return whether the rule has a fallback; null, which deletes the value, is one."""
        return "fallback" in self.model_fields_set


class Rules(CallOptions):
    """Mapping of an account: at most one rule for each property, and options for calls and for all properties."""

    model_config = ConfigDict(extra="forbid", frozen=True, title="ProsperStack Destination mapping")

    forgiving_names: Annotated[
        StrictBool,
        Field(description="Ignore case, spaces and underscores when matching names of traits and properties."),
    ] = False
    create_missing: Annotated[
        CreateMissing, Field(description="Create properties in ProsperStack for traits that no property takes.")
    ] = CreateMissing.NONE
    rules: Annotated[tuple[Rule, ...], Field(max_length=MAX_RULES)] = ()

    @model_validator(mode="after")
    def _check_unique_properties(self) -> "Rules":
        seen: set[str] = set()
        for number, rule in enumerate(self.rules):
            if rule.property in seen:
                raise PydanticCustomError(
                    "two_rules",
                    "two rules feed the property '{property}': remove one of them",
                    {"property": rule.property, "rule": number},
                )
            seen.add(rule.property)
        return self

    def by_property(self) -> Mapping[str, Rule]:
        """Return the rules by the key of their property."""
        return {rule.property: rule for rule in self.rules}

    @property
    def for_subscriptions(self) -> bool:
        """Return whether any rule feeds a property of subscriptions, which costs requests."""
        return any(rule.property.startswith(SUBSCRIPTION) and not rule.ignore for rule in self.rules)

    @property
    def are_of_the_day(self) -> bool:
        """Return whether any value depends on the day."""
        return any(compile_expression(text).is_of_the_day for rule in self.rules for text in rule.expressions())

    def __len__(self) -> int:
        return len(self.rules)


def call_rules_text(rules: Rules) -> str | None:
    """Return what rules say about calls as the text that the store keeps; None if nothing."""
    facts: set[tuple[str, ...]] = set()
    for rule in rules.rules:
        traits: list[str] = [] if rule.trait is None else [rule.trait]
        for text in rule.expressions():
            expression = compile_expression(text)
            traits += expression.traits
            facts |= {("context", *path) for path in expression.context}
            if "source" in expression.roots:
                facts.add(("source",))
        facts |= {("said", source, trait) for source in rule.sources or () for trait in traits}
    options = {name: getattr(rules, name) for name in CallOptions.model_fields if name in rules.model_fields_set}
    return dump_call_rules(CallOptions.model_validate(options), frozenset(facts))


def dump_rules(rules: Rules) -> str:
    """Return rules as the text that the store keeps."""
    return rules.model_dump_json(by_alias=True, exclude_unset=True)


def load_rules(text: str) -> Rules:
    """Return the rules of a text that `dump_rules` wrote. Raises `UnreadableMapping`."""
    try:
        return Rules.model_validate_json(text)
    except ValueError:
        raise UnreadableMapping("rules") from None


def unknown_properties(rules: Rules, keys: Iterable[str]) -> Iterator[str]:
    """Yield the properties that rules feed and the account lacks, in the order of the rules."""
    known = set(keys)
    return (rule.property for rule in rules.rules if rule.property not in known)


def _check_expression(text: str) -> None:
    try:
        compile_expression(text)
    except InvalidExpression as error:
        raise ValueError(str(error)) from None


NO_RULES: Final = Rules()
