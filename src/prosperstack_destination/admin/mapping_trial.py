"""A mapping tried out on one person: what each property would be, beside what it is to be now."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue
from sqlalchemy import Connection

from prosperstack_destination.account_mapping import AccountMapping, load, mapping_input
from prosperstack_destination.emails import normalize_email
from prosperstack_destination.mapping.catalog import Property
from prosperstack_destination.mapping.compiled_mapping import CompiledMapping
from prosperstack_destination.mapping.expression_runner import MappingInput
from prosperstack_destination.mapping.projection import DesiredValue, Projection, same_values
from prosperstack_destination.mapping.rules import SUBSCRIPTION, Rules
from prosperstack_destination.store import profile_queries, profile_scan, profiles
from prosperstack_destination.store.accounts import Account

#: People among whom one is looked for whom a mapping changes.
LOOKED_AMONG: Final = 100


@dataclass(frozen=True, slots=True)
class PropertyOutcome:
    """What traits make of one property."""

    #: None: nothing feeds it, or what does cannot.
    desired: DesiredValue | None
    #: Why what feeds it cannot.
    problem: str | None


@dataclass(frozen=True, slots=True)
class Change:
    """One property, before and after."""

    #: As rules name it.
    key: str
    target: Property
    before: PropertyOutcome
    after: PropertyOutcome

    @property
    def differs(self) -> bool:
        """Whether ProsperStack, or the list of problems, would have something else."""
        one, other = ({} if each.desired is None else {"": each.desired} for each in (self.before, self.after))
        return self.before.problem != self.after.problem or not same_values(one, other)

    @property
    def is_fed(self) -> bool:
        """Whether there is anything to say of it."""
        return any(each.desired is not None or each.problem is not None for each in (self.before, self.after))


@dataclass(frozen=True, slots=True)
class TrialResult:
    """One person under the mapping in force, and under another one."""

    email: str
    #: In the order of the catalog.
    changes: tuple[Change, ...]
    #: What expressions see of the person.
    context: Mapping[str, JsonValue]


def run_trial(connection: Connection, account: Account, rules: Rules, email: str) -> TrialResult | None:
    """Try rules out on the person with an email, or whose email begins so; "": on one whom they change.

    None: there is nobody. Such a one is looked for among the first `LOOKED_AMONG` in the order of their emails.
    """
    meaning = load(connection, account)
    plan = meaning.with_rules(rules)
    found = _person(connection, account, meaning.compiled, plan, normalize_email(email))
    if found is None:
        return None
    known, person = found
    before, after = meaning.compiled.project(person), plan.project(person)
    return TrialResult(known, _changes(meaning, before, after), person.context(meaning.audiences))


def _person(
    connection: Connection, account: Account, old: CompiledMapping, new: CompiledMapping, email: str
) -> tuple[str, MappingInput] | None:
    if not email:
        return _changed_one(connection, account, *old.diff(new))
    profile = profiles.find(connection, account.id, email)
    if profile is None:
        like = profile_queries.listed(connection, account.id, after="", limit=1, prefix=email).profiles
        profile = profiles.get(connection, like[0].id) if like else None
    return None if profile is None else (profile.email, mapping_input(profile))


def _changed_one(
    connection: Connection, account: Account, old: CompiledMapping, new: CompiledMapping
) -> tuple[str, MappingInput] | None:
    """The first whom it makes a difference to; the first of all where that is nobody."""
    first: tuple[str, MappingInput] | None = None
    for each in profile_scan.page(connection, account.id, "", limit=LOOKED_AMONG):
        person = MappingInput(each.values(), each.user_id, each.anonymous_id)
        first = first or (each.email, person)
        before, after = old.project(person), new.project(person)
        same = same_values(before.desired, after.desired) and same_values(before.subscription, after.subscription)
        if not same or before.problems != after.problems:
            return each.email, person
    return first


def _changes(meaning: AccountMapping, before: Projection, after: Projection) -> tuple[Change, ...]:
    sides = [(each, {problem.property: problem.reason for problem in each.problems}) for each in (before, after)]
    named = [(each.key, each, False) for each in meaning.catalog]
    named += [(SUBSCRIPTION + each.key, each, True) for each in meaning.subscription_catalog]
    changes = []
    for name, target, of_subscription in named:
        outcomes = [
            PropertyOutcome(
                (side.subscription if of_subscription else side.desired).get(target.key), reasons.get(name)
            )
            for side, reasons in sides
        ]
        changes.append(Change(name, target, *outcomes))
    return tuple(changes)
