"""Call rules: what a mapping says about calls before they are stored.

They say which calls the account takes, whose they are, which traits are never stored, and which parts of a call
besides its traits are kept for rules (see `facts`).
"""

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Annotated, Any, Final

import re2
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, StringConstraints, model_validator

from prosperstack_destination.call_facts import SOURCE_FACT, context_fact, source_trait_fact
from prosperstack_destination.mapping.coercion import CoercionError
from prosperstack_destination.mapping.expression_runner import EvaluationError, ExpressionRunner
from prosperstack_destination.mapping.expressions import (
    CALL_ROOTS,
    MAX_LENGTH,
    InvalidExpression,
    compile_expression,
)
from prosperstack_destination.mapping.transforms import Transform, expand_short_forms

#: Largest part of a context that is kept for a rule, in characters of its JSON.
MAX_FACT: Final = 4_096
#: Most patterns of traits that are never stored.
MAX_DROPPED: Final = 200
#: Memory of the compiled patterns of a mapping, in bytes: the most and longest patterns take a sixth of it.
_PATTERNS_BYTES: Final = 64 << 20
#: Deepest nesting in which traits are dropped; deeper parts of a call are refused.
_MAX_DEPTH: Final = 100

#: Fields of a call that are never traits: patterns do not match them.
_ENVELOPE: Final = frozenset({"type", "traits", "context", "userId", "anonymousId", "timestamp", "messageId"})


def _check(text: str) -> str:
    try:
        compile_expression(text, CALL_ROOTS)
    except InvalidExpression as error:
        raise ValueError(str(error)) from None
    return text


CallExpression = Annotated[str, StringConstraints(min_length=1, max_length=MAX_LENGTH), AfterValidator(_check)]
#: A name of a trait, or a path to a part of one; ``*`` is any number of steps, or any characters of a name.
Pattern = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class EmailRule(BaseModel):
    """Source of the email that a call's subscriber is matched by."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_by_name=True, validate_by_alias=True)

    from_: Annotated[
        CallExpression | None,
        Field(alias="from", description="Source of the email, e.g. traits.contact.email."),
    ] = None
    first_of: Annotated[
        tuple[CallExpression, ...] | None,
        Field(min_length=1, max_length=20, description="Several sources: the first that gives an email counts."),
    ] = None
    clean: Annotated[tuple[Transform, ...], Field(max_length=20, description="Transforms, in this order.")] = ()

    @model_validator(mode="before")
    @classmethod
    def _expand_short_form(cls, data: object) -> object:
        return {"from": data} if isinstance(data, str) else expand_short_forms(data)

    @model_validator(mode="after")
    def _check_source(self) -> "EmailRule":
        if (self.from_ is None) == (self.first_of is None):
            raise ValueError("write one source: from, e.g. `from: traits.contact.email`, or first_of")
        return self


class WithoutConsent(StrEnum):
    """Treatment of a call without consent categories."""

    REFUSE = "refuse"
    ACCEPT = "accept"


class ConsentRule(BaseModel):
    """Categories of consent that a call has to have, in ``context.consent.categoryPreferences``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    required_categories: Annotated[
        tuple[Annotated[str, StringConstraints(min_length=1, max_length=200)], ...],
        Field(min_length=1, max_length=50, description="The person has to have consented to each of these."),
    ]
    missing: Annotated[
        WithoutConsent, Field(description="What happens to a call without categoryPreferences, as Engage's are.")
    ] = WithoutConsent.REFUSE


class CallOptions(BaseModel):
    """Options of a mapping file about calls."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    email: Annotated[
        EmailRule | None,
        Field(description="Source of the email: JMESPath over the call, in place of the usual places."),
    ] = None
    accept: Annotated[
        CallExpression | None,
        Field(description="A JMESPath condition over the call: others are answered with 200, and not stored."),
    ] = None
    drop: Annotated[
        tuple[Pattern, ...],
        Field(max_length=MAX_DROPPED, description="Traits that are never stored, as ssn or *.password."),
    ] = ()
    consent: Annotated[
        ConsentRule | None, Field(description="Consent that a call has to have, in Segment's form.")
    ] = None


class LeftOut(StrEnum):
    """Reason why an account does not take a call."""

    FILTERED = "filtered"
    NO_CONSENT = "no_consent"


@dataclass(frozen=True, slots=True)
class CallInput:
    """A call as expressions about it see it."""

    raw: Mapping[str, JsonValue]
    type: str
    traits: Mapping[str, JsonValue]
    context: Mapping[str, JsonValue]
    user_id: str | None
    anonymous_id: str | None
    #: Kind, ID and name of the source.
    source: Mapping[str, JsonValue]

    def roots(self) -> dict[str, JsonValue]:
        """Return the input of expressions: see `CALL_ROOTS`."""
        return {
            "type": self.type,
            "traits": dict(self.traits),
            "context": dict(self.context),
            "userId": self.user_id,
            "anonymousId": self.anonymous_id,
            "source": dict(self.source),
            "properties": self.raw.get("properties"),
            "integrations": self.raw.get("integrations"),
        }


class CallRules:
    """Compiled call rules of an account."""

    def __init__(self, options: CallOptions, facts: frozenset[tuple[str, ...]]) -> None:
        self._options = options
        #: First the kind, then the path or the source and the trait.
        self._facts = sorted(facts)
        self._emails = options.email and (options.email.first_of or (str(options.email.from_),))
        self._steps = [] if options.email is None else [each.step() for each in options.email.clean]
        self._dropped = None if not options.drop else _compile_patterns(options.drop)

    @property
    def has_email(self) -> bool:
        """Return whether a rule gives the email."""
        return self._emails is not None

    @property
    def drops(self) -> bool:
        """Return whether any traits are never stored."""
        return self._dropped is not None

    def reason_to_leave_out(self, call: CallInput) -> LeftOut | None:
        """Return why the account does not take an Identify call, or None if it does."""
        consent = self._options.consent
        if consent is not None and not _has_consent(call.context, consent):
            return LeftOut.NO_CONSENT
        if self._options.accept is not None:
            try:
                runner = ExpressionRunner(call.roots)
                if not runner.is_true(compile_expression(self._options.accept, CALL_ROOTS)):
                    return LeftOut.FILTERED
            except EvaluationError:
                return LeftOut.FILTERED
        return None

    def emails(self, call: CallInput) -> Iterator[tuple[str, JsonValue]]:
        """Yield the sources of the email rule and their values, in order."""
        runner = ExpressionRunner(call.roots)
        for text in self._emails or ():
            try:
                value = runner.value(compile_expression(text, CALL_ROOTS))
                for step in self._steps:
                    value = None if value is None else step(value)
            except (EvaluationError, CoercionError):
                value = None
            yield text, value

    def facts(self, call: CallInput) -> dict[str, JsonValue]:
        """Return the parts of a call that are kept for rules, by the names of their facts."""
        found: dict[str, JsonValue] = {}
        for kind, *rest in self._facts:
            if kind == "context":
                value = _part(call.context, rest)
                if value is not None and len(json.dumps(value)) <= MAX_FACT:
                    found[context_fact(rest)] = value
            elif kind == "said":
                source, trait = rest
                if trait in call.traits and source in self._names(call):
                    found[source_trait_fact(source, trait)] = call.traits[trait]
            elif call.source["id"] or call.source["name"]:
                found[SOURCE_FACT] = dict(call.source)
        return found

    @staticmethod
    def _names(call: CallInput) -> tuple[JsonValue, ...]:
        """Return the names of the source in rules: its ID, and its library with or without a version."""
        library = str(call.source["name"])
        return call.source["id"], library, library.partition(" ")[0]

    def without_dropped(self, raw: Mapping[str, JsonValue], flat: Collection[str]) -> dict[str, JsonValue]:
        """Return a call without the traits that are never stored, in all of its fields that have traits.

        ``flat`` are the names of fields that are traits in a flat body.
        """
        return {
            name: self._cleaned(name, value)
            for name, value in raw.items()
            if not (name in flat and self._is_dropped(name))
        }

    def stored_without(self, traits: Mapping[str, JsonValue]) -> Mapping[str, JsonValue]:
        """Return stored traits without those that are never stored from now on."""
        cleaned = self._without(dict(traits), "", 0)
        return cleaned if isinstance(cleaned, dict) else {}

    def _cleaned(self, name: str, value: JsonValue) -> JsonValue:
        folded = name.lower().replace("_", "")
        if folded == "traits":
            return self._without(value, "", 0)
        if folded == "context" and isinstance(value, dict):
            context = {key: part for key, part in value.items() if not self._is_dropped(f"context.{key}")}
            for key in context:
                path = "" if key.lower() == "traits" else f"context.{key}."
                context[key] = self._without(context[key], path, 0)
            return context
        if folded == "json" and isinstance(value, dict):  # a wrapped event
            return self.without_dropped(value, value.keys() - _ENVELOPE)
        path = "" if folded == "properties" else f"{name}."
        return self._without(value, path, 0) if isinstance(value, dict | list) else value

    def _without(self, value: JsonValue, path: str, depth: int) -> JsonValue:
        if depth > _MAX_DEPTH:
            return None
        if isinstance(value, list):
            return [self._without(each, path, depth + 1) for each in value]
        if not isinstance(value, dict):
            return value
        kept = {name: part for name, part in value.items() if not self._is_dropped(path + name)}
        for name, part in kept.items():
            if isinstance(part, dict | list):
                inner = path if not path and name.lower() == "traits" else f"{path}{name}."
                kept[name] = self._without(part, inner, depth + 1)
        return kept

    def _is_dropped(self, path: str) -> bool:
        # RE2 takes bytes of any text, and no text with half a surrogate pair.
        return self._dropped is not None and self._dropped.fullmatch(path.encode(errors="replace")) is not None


def dump_call_rules(options: CallOptions, facts: frozenset[tuple[str, ...]]) -> str | None:
    """Return call rules as the text that the store keeps; None if there are none."""
    content: dict[str, Any] = options.model_dump(mode="json", by_alias=True, exclude_unset=True)
    if facts:
        content["facts"] = sorted(map(list, facts))
    return json.dumps(content) if content else None


@lru_cache(maxsize=1_024)
def load_call_rules(text: str) -> CallRules:
    """Return the call rules of a text that `dump_call_rules` wrote."""
    content = json.loads(text)
    facts = frozenset(map(tuple, content.pop("facts", ())))
    return CallRules(CallOptions.model_validate(content), facts)


def _has_consent(context: Mapping[str, JsonValue], rule: ConsentRule) -> bool:
    preferences = _part(context, ["consent", "categoryPreferences"])
    if not isinstance(preferences, dict):
        return rule.missing is WithoutConsent.ACCEPT
    return all(preferences.get(category) is True for category in rule.required_categories)


def _part(context: Mapping[str, JsonValue], path: list[str]) -> JsonValue:
    value: JsonValue = dict(context)
    for step in path:
        value = value.get(step) if isinstance(value, dict) else None
    return value


def _compile_patterns(texts: tuple[str, ...]) -> Any:
    """Return patterns of paths as one regular expression of RE2, which takes linear time for any names."""
    options = re2.Options()
    options.case_sensitive = False
    options.log_errors = False
    options.max_mem = _PATTERNS_BYTES
    return re2.compile("|".join(map(_pattern, texts)), options)


def _pattern(text: str) -> str:
    """Return a pattern of a path as a regular expression."""
    steps = text.split(".")
    parts = [r"(?:[^.]+\.)*" if step == "*" else _step(step) + r"\." for step in steps[:-1]]
    return "".join(parts) + ("[^.]+" if steps[-1] == "*" else _step(steps[-1]))


def _step(text: str) -> str:
    return "[^.]*".join(re2.escape(part) for part in text.split("*"))
