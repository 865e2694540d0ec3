"""Rules: what an account says about a property, before names are matched."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

#: The most rules that one account may have; ProsperStack shows far fewer properties than this.
MAX_RULES = 500


class Rule(BaseModel):
    """One property, and the trait that feeds it instead of the one that has its key or its name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    property: Annotated[str, Field(min_length=1, max_length=200, description="The key of the property.")]
    trait: Annotated[str, Field(min_length=1, max_length=1000, description="The exact name of the trait.")]


class Rules(BaseModel):
    """An account's rules, at most one a property; this is also the form of the mapping file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rules: Annotated[tuple[Rule, ...], Field(max_length=MAX_RULES)] = ()

    @model_validator(mode="after")
    def _one_rule_a_property(self) -> "Rules":
        seen: set[str] = set()
        for rule in self.rules:
            if rule.property in seen:
                raise ValueError(f"two rules feed the property {rule.property!r}: remove one of them")
            seen.add(rule.property)
        return self

    def by_property(self) -> Mapping[str, Rule]:
        """The rules by the property key that they feed."""
        return {rule.property: rule for rule in self.rules}

    def __len__(self) -> int:
        return len(self.rules)


def unknown_properties(rules: Rules, keys: Iterable[str]) -> Iterator[str]:
    """The properties that rules feed and the account does not have, in the order of the rules."""
    known = set(keys)
    return (rule.property for rule in rules.rules if rule.property not in known)


NO_RULES = Rules()
