"""Rules: what an account says about its properties, before names are matched. This is the mapping file's form."""

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

from prosperstack_destination.mapping.expressions import MAX_LENGTH, InvalidExpression, compile_expression
from prosperstack_destination.mapping.transforms import TRANSFORMS, Transform

#: The most rules that one account may have; ProsperStack shows far fewer properties than this.
MAX_RULES: Final = 500
#: The most entries of one lookup table.
MAX_VALUES: Final = 5_000
#: How a rule names a property of subscriptions, before its key.
SUBSCRIPTION: Final = "subscription."
#: The fallback that lets a value through which is not in the table.
KEEP: Final = "keep"


Number = TypeVar("Number", int, float)


def _of_a_double(number: Number) -> Number:
    """Refuse what no property takes, and JSON has no form for."""
    try:
        fits = math.isfinite(number)
    except OverflowError:
        fits = False
    if not fits:
        raise ValueError("the number is too large, or none")
    return number


#: A value as a file has it.
Scalar = (
    StrictBool
    | Annotated[int, AfterValidator(_of_a_double)]
    | Annotated[float, AfterValidator(_of_a_double)]
    | str
    | None
)
ExpressionText = Annotated[str, StringConstraints(min_length=1, max_length=MAX_LENGTH)]

_SOURCES: Final = ("from", "trait", "first_of")


class CreateMissing(StrEnum):
    """For what a property is created in ProsperStack where none takes it."""

    NONE = "none"
    #: Engage's audiences, as booleans.
    AUDIENCES = "audiences"
    #: Every trait that no property takes, audiences among them.
    TRAITS = "traits"


class Rule(BaseModel):
    """What one property is, instead of the trait that has its key or its name."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_by_name=True, validate_by_alias=True)

    property: Annotated[
        str,
        Field(
            min_length=1,
            max_length=200,
            description="The key of the property; `subscription.` before it for one of subscriptions.",
        ),
    ]
    from_: Annotated[
        ExpressionText | None,
        Field(
            alias="from",
            description="Where the value comes from: JMESPath over traits, userId, anonymousId and audiences, "
            "as in traits.address.city.",
        ),
    ] = None
    trait: Annotated[
        str | None,
        Field(
            min_length=1, max_length=1000, description="The exact name of a trait, for a `from` that is no more."
        ),
    ] = None
    first_of: Annotated[
        tuple[ExpressionText, ...] | None,
        Field(
            min_length=1,
            max_length=20,
            description="Several sources: the first that gives something after clean-ups.",
        ),
    ] = None
    when: Annotated[
        ExpressionText | None,
        Field(description="A JMESPath condition. Where it does not hold the rule says nothing: the value stays."),
    ] = None
    clean: Annotated[
        tuple[Transform, ...], Field(max_length=20, description="Clean-ups, one after the other.")
    ] = ()
    values: Annotated[
        Mapping[str, Scalar] | None,
        Field(max_length=MAX_VALUES, description="A lookup table: the value, after clean-ups, to what is sent."),
    ] = None
    fallback: Annotated[
        Scalar,
        Field(
            description="What is sent for a value that is not in `values`; without it that is a problem. "
            "`keep` lets the value through where the property can take it."
        ),
    ] = None
    default: Annotated[Scalar, Field(description="What is sent where no value comes out.")] = None
    ignore: Annotated[StrictBool, Field(description="Switch the property off: no trait feeds it.")] = False

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, given: object) -> object:
        """Gather the clean-ups that stand in the rule itself, in the order in which they are written."""
        if not isinstance(given, dict):
            return given
        if isinstance(given.get("clean"), str):
            given = {**given, "clean": [given["clean"]]}
        short = [name for name in given if name in TRANSFORMS]
        if not short:
            return given
        if "clean" in given:
            raise ValueError(f"{short[0]} stands beside clean: put all clean-ups into clean, in their order")
        rest = {name: value for name, value in given.items() if name not in TRANSFORMS}
        return rest | {"clean": [{name: given[name]} for name in short if not _is_off(given[name])]}

    @field_validator("from_", "when")
    @classmethod
    def _expression(cls, text: str | None) -> str | None:
        if text is not None:
            _check(text)
        return text

    @field_validator("first_of")
    @classmethod
    def _expressions(cls, texts: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for text in texts or ():
            _check(text)
        return texts

    @model_validator(mode="after")
    def _one_source(self) -> "Rule":
        given = [
            name for name, value in zip(_SOURCES, (self.from_, self.trait, self.first_of), strict=True) if value
        ]
        if self.ignore:
            if self.model_fields_set - {"property", "ignore"}:
                raise ValueError("ignore: true switches the property off, so nothing else belongs into its rule")
        elif len(given) > 1:
            raise ValueError(
                f"{' and '.join(given)} are both there: a rule has one source (first_of takes several)"
            )
        elif not given and self.default is None:
            raise ValueError("it has no source: add from, as in `from: traits.plan`, or first_of")
        if "fallback" in self.model_fields_set and self.values is None:
            raise ValueError(
                "fallback is for what is not in values, and there are none: add values, or use default"
            )
        return self

    @builtins.property
    def source(self) -> str:
        """Where it takes its value from, for people."""
        if self.trait is not None:
            return f"the trait {self.trait!r}"
        return ", ".join(self.first_of or (() if self.from_ is None else (self.from_,))) or "its default alone"

    @builtins.property
    def has_fallback(self) -> bool:
        """Whether values that are not in the table are replaced; null, which deletes, is a replacement too."""
        return "fallback" in self.model_fields_set


class Rules(BaseModel):
    """The mapping of an account: at most one rule a property, and what goes for all of them."""

    model_config = ConfigDict(extra="forbid", frozen=True, title="ProsperStack Destination mapping")

    forgiving_names: Annotated[
        StrictBool,
        Field(description="Match the names of traits and properties ignoring case, spaces and underscores."),
    ] = False
    create_missing: Annotated[
        CreateMissing, Field(description="Create properties in ProsperStack for what none takes.")
    ] = CreateMissing.NONE
    rules: Annotated[tuple[Rule, ...], Field(max_length=MAX_RULES)] = ()

    @model_validator(mode="after")
    def _one_rule_a_property(self) -> "Rules":
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
        """The rules by the property key that they feed."""
        return {rule.property: rule for rule in self.rules}

    @property
    def for_subscriptions(self) -> bool:
        """Whether any rule is for a property of subscriptions, which costs requests."""
        return any(rule.property.startswith(SUBSCRIPTION) and not rule.ignore for rule in self.rules)

    def __len__(self) -> int:
        return len(self.rules)


def dump_rules(rules: Rules) -> str:
    """Rules as they are stored."""
    return rules.model_dump_json(by_alias=True, exclude_unset=True)


def load_rules(text: str) -> Rules:
    """What `dump_rules` was given."""
    return Rules.model_validate_json(text)


def unknown_properties(rules: Rules, keys: Iterable[str]) -> Iterator[str]:
    """The properties that rules feed and the account does not have, in the order of the rules."""
    known = set(keys)
    return (rule.property for rule in rules.rules if rule.property not in known)


def _is_off(argument: object) -> bool:
    """Whether a clean-up is written and not wanted; ``round: 0`` is wanted."""
    return argument is None or argument is False


def _check(text: str) -> None:
    try:
        compile_expression(text)
    except InvalidExpression as error:
        raise ValueError(str(error)) from None


NO_RULES: Final = Rules()
