"""Explanation of an Identify call's effect, for operators who work on a mapping."""

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field, replace
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, JsonValue
from pydantic.alias_generators import to_camel
from sqlalchemy import Connection

from prosperstack_destination.account_mapping import load
from prosperstack_destination.clock import utc
from prosperstack_destination.errors import MissingEmail
from prosperstack_destination.ingest.parser import ParsedIdentify
from prosperstack_destination.mapping.catalog import Catalog
from prosperstack_destination.mapping.coercion import PropertyValue
from prosperstack_destination.mapping.compiled_mapping import (
    CompiledMapping,
    DesiredValue,
    MappingProblem,
    MatchedBy,
    Projection,
)
from prosperstack_destination.mapping.expression_runner import MappingInput
from prosperstack_destination.mapping.functions import NO_CONTEXT, FunctionContext
from prosperstack_destination.mapping.rules import Rules
from prosperstack_destination.store import accounts, profiles
from prosperstack_destination.store.accounts import Account
from prosperstack_destination.store.identities import Identities
from prosperstack_destination.store.merge import MAX_TRAITS, merge
from prosperstack_destination.store.models import Identify, SourceKind, Stamped
from prosperstack_destination.store.timed_traits import by_name, by_time

#: Why a trait is not kept.
_FULL: Final = f"a profile keeps {MAX_TRAITS:,} traits, first those that properties and rules read, then the newest"


@dataclass(frozen=True, slots=True)
class ExplainContext:
    """Data that `explain` needs: the account's catalog and rules, and the stored profile."""

    catalog: Catalog
    #: The properties have been listed; if not, nothing can be mapped yet.
    catalog_known: bool
    rules: Rules
    #: The traits that are Engage's audiences.
    audiences: Set[str]
    #: The person's email: of the call, or as its ids tell it. None: it is not known.
    email: str | None
    #: The stored profile's traits, empty for a person who is new.
    stored: Mapping[str, Stamped]
    #: Its facts: see `facts`.
    facts: Mapping[str, Stamped] = field(default_factory=dict)
    #: The account's time zone, its key of keyed hashes, and the present time.
    context: FunctionContext = NO_CONTEXT


class _Shown(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class FoundEmail(_Shown):
    """The email that the subscriber is matched by."""

    value: str
    found_in: str = Field(description="The field of the email, e.g. `traits.email`; `ids` if its ids led to it.")


class SkippedTime(_Shown):
    """A time of the call that was not used."""

    field: str
    value: JsonValue
    reason: str


class EventTime(_Shown):
    """Time of the event; of two values for a trait the later one stays."""

    value: str
    found_in: str = Field(description='The field of the time; "now" if no field has one.')
    skipped: list[SkippedTime] = Field(description="Better fields whose times could not be read.")


class ExplainedProperty(_Shown):
    """A custom property that this call determines."""

    property: str = Field(description="Its key.")
    name: str
    type: str
    value: PropertyValue = Field(description="What ProsperStack should have; null deletes the value.")
    trait: str
    matched_by: MatchedBy = Field(description="Why this trait feeds it: a rule, its key, or its name.")


class IgnoredTrait(_Shown):
    """A trait that changes nothing in ProsperStack. It is stored all the same, unless the reason says otherwise."""

    trait: str
    reason: str


class ExplainedProblem(_Shown):
    """A trait that feeds a property and cannot."""

    property: str
    trait: str
    value: JsonValue
    reason: str


class Explanation(_Shown):
    """Effect of an Identify call."""

    message: str
    stored: bool = Field(description="Whether the call was kept; not in a dry run.")
    email: FoundEmail | None = Field(description="None: it is held until an email is known for its ids.")
    user_id: str | None
    time: EventTime
    properties: list[ExplainedProperty]
    ignored: list[IgnoredTrait]
    problems: list[ExplainedProblem]


def explain(call: ParsedIdentify, knowledge: ExplainContext, *, stored: bool) -> Explanation:
    """Return the effect of a call on its person's properties."""
    audiences = knowledge.audiences
    if call.source.kind is SourceKind.AUDIENCE:
        audiences = audiences | {call.source.key}
    plan = CompiledMapping(knowledge.catalog, knowledge.rules, audiences=audiences, context=knowledge.context)
    merged = by_name(merge(by_time(knowledge.stored), {call.at: call.traits}, plan.reads).traits)
    outdated = {
        name: knowledge.stored[name][1]
        for name in call.traits
        if name in knowledge.stored and knowledge.stored[name][1] > call.at
    }
    traits = {name: value for name, (value, _) in merged.items()}
    facts = by_name(merge(by_time(knowledge.facts), {call.at: call.facts}).traits)
    person = MappingInput(traits, call.user_id, call.anonymous_id, facts, knowledge.context.now)
    projection = plan.project(person)
    current = (call.traits.keys() | call.facts.keys()) - outdated.keys()
    return Explanation(
        message=_summary(knowledge, stored=stored),
        stored=stored,
        email=_email(call, knowledge),
        user_id=call.user_id,
        time=_time(call),
        properties=[
            ExplainedProperty(
                property=target.key,
                name=target.name,
                type=target.type,
                value=desired.value,
                trait=desired.trait,
                matched_by=desired.matched_by,
            )
            for target in knowledge.catalog
            if (desired := projection.desired.get(target.key)) is not None and _told_by(current, desired)
        ],
        ignored=list(_ignored(call, outdated, knowledge, projection, merged)),
        problems=[
            ExplainedProblem(property=each.property, trait=each.trait, value=each.value, reason=each.reason)
            for each in projection.problems
            if _told_by(current, each)
        ],
    )


def _told_by(current: Set[str], each: DesiredValue | MappingProblem) -> bool:
    """Return whether a value depends on the call's current traits, or on no trait at all."""
    return not each.traits or not current.isdisjoint(each.traits)


def _email(call: ParsedIdentify, knowledge: ExplainContext) -> FoundEmail | None:
    if call.email_field is not None:
        return FoundEmail(value=call.address, found_in=call.email_field)
    return None if knowledge.email is None else FoundEmail(value=knowledge.email, found_in="ids")


def _time(call: ParsedIdentify) -> EventTime:
    skipped = [SkippedTime(field=each.field, value=each.value, reason=each.reason) for each in call.skipped_times]
    return EventTime(value=_iso(call.at), found_in=call.time_field, skipped=skipped)


def _summary(knowledge: ExplainContext, *, stored: bool) -> str:
    message = "Accepted." if stored else "Dry run: nothing was stored."
    if not knowledge.catalog_known:
        message += " The account's properties have not been listed yet, so nothing can be matched; try again soon."
    return message


def _ignored(
    call: ParsedIdentify,
    outdated: Mapping[str, int],
    knowledge: ExplainContext,
    projection: Projection,
    merged: Mapping[str, Stamped],
) -> Iterator[IgnoredTrait]:
    fed = {trait for each in projection.desired.values() for trait in each.traits}
    fed |= {trait for each in projection.problems for trait in each.traits}
    for place, reason in call.invalid_emails.items():
        yield IgnoredTrait(trait=place, reason=f"not taken for the email: {reason}")
    for name in call.traits:
        if name in fed and name not in outdated:
            continue
        if name not in merged:
            reason = f"dropped: {_FULL}"
        elif name.lower() == "email" and name not in fed:
            reason = "it tells whose properties these are; no property has this key or name"
        elif name in outdated:
            reason = f"outdated: a value with the later time {_iso(outdated[name])} is known"
        else:
            reason = _why_unused(name, knowledge, projection)
        yield IgnoredTrait(trait=name, reason=reason)
    for name in sorted(knowledge.stored.keys() - merged.keys() - call.traits.keys()):
        yield IgnoredTrait(trait=name, reason=f"dropped from the profile: {_FULL}")
    for name in call.dropped:
        yield IgnoredTrait(trait=name, reason="the mapping drops it: it is not stored")
    for name in call.unknown_fields:
        yield IgnoredTrait(
            trait=name, reason="it is a field beside the traits: put it into traits to have it stored"
        )


def _why_unused(name: str, knowledge: ExplainContext, projection: Projection) -> str:
    """Return the reason why a trait feeds no property."""
    for target in knowledge.catalog:
        if name not in (target.key, target.name):
            continue
        rule = knowledge.rules.by_property().get(target.key)
        if rule is not None and rule.ignore:
            return f"a rule switches the property {target.key} off"
        if rule is not None:
            return f"a rule feeds the property {target.key} from {rule.source} instead"
        if target.key in projection.desired:
            return f"the trait {target.key!r}, the key of the property, goes before this one, its name"
    return "no property has this key or name, and no rule uses it"


def _iso(at: int) -> str:
    return utc(at).isoformat().replace("+00:00", "Z")


def load_explain_context(connection: Connection, account: Account, call: Identify) -> ExplainContext:
    """Load the data that `explain` needs for a call of an account.

    Raises `MissingEmail` where its IDs resolve to no email, and it is not from Engage.
    """
    row = accounts.get(connection, account.id) or account
    email = call.email or Identities(connection, account.id, call.ids).email(call.ids)
    if email is None and not call.from_engage:
        raise MissingEmail(has_ids=True)
    profile = None if email is None else profiles.find(connection, account.id, email)
    meaning = load(connection, row)
    return ExplainContext(
        catalog=meaning.catalog,
        catalog_known=row.catalog is not None,
        rules=meaning.rules,
        audiences=meaning.audiences,
        email=email,
        stored={} if profile is None else profile.traits,
        facts={} if profile is None else profile.facts,
        context=replace(meaning.context, now=call.received_at),
    )
