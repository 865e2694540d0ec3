"""A mapping tried on one person: each property under the current mapping and under the proposed one."""

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

#: People searched for one whom the mapping changes.
MAX_SCANNED: Final = 100


@dataclass(frozen=True, slots=True)
class PropertyOutcome:
    """Outcome of the traits for one property."""

    #: None: no trait feeds it, or the trait cannot be converted.
    desired: DesiredValue | None
    #: Reason why the trait cannot be converted.
    problem: str | None


@dataclass(frozen=True, slots=True)
class Change:
    """One property before and after."""

    #: Key as in rules.
    key: str
    target: Property
    before: PropertyOutcome
    after: PropertyOutcome

    @property
    def differs(self) -> bool:
        """True if ProsperStack, or the list of problems, would change."""
        one, other = ({} if each.desired is None else {"": each.desired} for each in (self.before, self.after))
        return self.before.problem != self.after.problem or not same_values(one, other)

    @property
    def is_fed(self) -> bool:
        """True if a trait feeds the property, before or after."""
        return any(each.desired is not None or each.problem is not None for each in (self.before, self.after))


@dataclass(frozen=True, slots=True)
class TrialResult:
    """One person under the current mapping and under the proposed one."""

    email: str
    #: In the order of the catalog.
    changes: tuple[Change, ...]
    #: Data that expressions see of the person.
    context: Mapping[str, JsonValue]


def run_trial(connection: Connection, account: Account, rules: Rules, email: str) -> TrialResult | None:
    """Try rules on the person with an email, or whose email begins with it; "" picks a person whom they change.

    Returns None if there is no such person. Only the first `MAX_SCANNED` people, in the order of their emails, are
    searched for one whom the rules change.
    """
    mapping = load(connection, account)
    trial = mapping.with_rules(rules)
    found = _person(connection, account, mapping.compiled, trial, normalize_email(email))
    if found is None:
        return None
    found_email, person = found
    before, after = mapping.compiled.project(person), trial.project(person)
    return TrialResult(found_email, _changes(mapping, before, after), person.context(mapping.audiences))


def _person(
    connection: Connection, account: Account, old: CompiledMapping, new: CompiledMapping, email: str
) -> tuple[str, MappingInput] | None:
    if not email:
        return _first_changed(connection, account, *old.diff(new))
    profile = profiles.find(connection, account.id, email)
    if profile is None:
        matches = profile_queries.list_page(connection, account.id, after="", limit=1, prefix=email).profiles
        profile = profiles.get(connection, matches[0].id) if matches else None
    return None if profile is None else (profile.email, mapping_input(profile))


def _first_changed(
    connection: Connection, account: Account, old: CompiledMapping, new: CompiledMapping
) -> tuple[str, MappingInput] | None:
    """Return the first person whom the mapping changes; the first of all if it changes none."""
    first: tuple[str, MappingInput] | None = None
    for each in profile_scan.page(connection, account.id, "", limit=MAX_SCANNED):
        person = MappingInput(each.values(), each.user_id, each.anonymous_id)
        first = first or (each.email, person)
        before, after = old.project(person), new.project(person)
        same = same_values(before.desired, after.desired) and same_values(before.subscription, after.subscription)
        if not same or before.problems != after.problems:
            return each.email, person
    return first


def _changes(mapping: AccountMapping, before: Projection, after: Projection) -> tuple[Change, ...]:
    sides = [(each, {problem.property: problem.reason for problem in each.problems}) for each in (before, after)]
    named = [(each.key, each, False) for each in mapping.catalog]
    named += [(SUBSCRIPTION + each.key, each, True) for each in mapping.subscription_catalog]
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
