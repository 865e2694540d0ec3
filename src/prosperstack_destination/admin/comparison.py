"""Desired, observed and applied properties side by side, and how each stands: pure functions.

They rest on what the reconciler itself goes by (`reconcile.three_way_diff`, `reconcile.decision`): what they
say is to be sent is
what it would send.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from pydantic import JsonValue

from prosperstack_destination.account_mapping import AccountMapping
from prosperstack_destination.mapping.catalog import Catalog, Property
from prosperstack_destination.mapping.projection import DesiredValue, MappingProblem, Projection
from prosperstack_destination.mapping.rules import SUBSCRIPTION
from prosperstack_destination.reconcile.subscriptions import pending
from prosperstack_destination.reconcile.three_way_diff import PropertyDiff, comparable, diff, same
from prosperstack_destination.store.subscribers import Subscriber
from prosperstack_destination.store.subscription_states import SubscriptionState


class PropertyState(StrEnum):
    """How one property of one subscriber stands. `admin.labels` says each in a sentence."""

    #: ProsperStack has what is desired.
    SAME = "same"
    #: ProsperStack has something else: it is sent when the person's turn comes.
    TO_BE_SENT = "to_be_sent"
    #: ProsperStack had what is desired, but before the newest change came in: it is looked up first.
    TO_BE_CHECKED = "to_be_checked"
    #: Somebody edited it in ProsperStack after it was settled: that stays until Segment says something new.
    EDITED_THERE = "edited_there"
    #: ProsperStack rejected the value: it is not sent again before it is another one.
    SET_ASIDE = "set_aside"
    #: The trait that feeds it cannot be its value.
    PROBLEM = "problem"
    #: It is desired, and nobody in ProsperStack is known to have the email.
    NO_SUBSCRIBER = "no_subscriber"
    #: No trait feeds it: it is left as it is.
    NOT_FED = "not_fed"


@dataclass(frozen=True, slots=True)
class PropertyComparison:
    """One property, for one subscriber."""

    #: Its key; those of subscriptions begin with ``subscription.``, as in rules.
    key: str
    #: The property itself: what people call it, and its type.
    target: Property
    #: What it should be, and why; None: no trait gives it a value. (A `DesiredValue` whose value is None
    #: deletes it.)
    desired: DesiredValue | None
    #: What ProsperStack showed last; None: no value. What subscriptions have is not kept: always None for theirs.
    observed: JsonValue
    #: What was settled last: sent, or found to be there already; None: a deletion, or nothing yet.
    applied: JsonValue
    state: PropertyState
    #: What stands in the way, of `PropertyState.SET_ASIDE` (ProsperStack's words) and `PropertyState.PROBLEM`.
    reason: str | None = None
    #: What fed it and cannot be its value, of `PropertyState.PROBLEM`: the trait, and the value that it had.
    problem: MappingProblem | None = None


def compare(
    projection: Projection,
    meaning: AccountMapping,
    subscriber: Subscriber | None,
    state: SubscriptionState | None = None,
    *,
    believed: bool = True,
) -> tuple[PropertyComparison, ...]:
    """Every property of the catalog, in its order, then those of subscriptions that a rule feeds.

    ``subscriber`` None: nobody is known to have the email. ``state``: what was settled on their subscriptions.
    ``believed``: what is known of them was seen after the profile's newest change (see
    `reconcile.decision.is_believed`).
    """
    theirs = _subscribers_rows(projection, meaning.catalog, subscriber, believed=believed)
    return (*theirs, *_subscriptions_rows(projection, meaning.subscription_catalog, state))


def _subscribers_rows(
    projection: Projection, catalog: Catalog, subscriber: Subscriber | None, *, believed: bool
) -> Iterator[PropertyComparison]:
    problems = {each.property: each for each in projection.problems}
    difference = None if subscriber is None else diff(projection.values(), subscriber, catalog)
    for target in catalog:
        desired = projection.desired.get(target.key)
        observed = None if subscriber is None else subscriber.observed.get(target.key)
        applied = None if subscriber is None else subscriber.applied.get(target.key)
        if desired is None:
            yield _without_value(target.key, target, problems.get(target.key), observed, applied)
        elif subscriber is None or difference is None:
            yield PropertyComparison(target.key, target, desired, observed, applied, PropertyState.NO_SUBSCRIBER)
        else:
            state = _state(target, desired, subscriber, difference, believed=believed)
            reason = subscriber.rejected[target.key][1] if state is PropertyState.SET_ASIDE else None
            yield PropertyComparison(target.key, target, desired, observed, applied, state, reason)


def _state(
    target: Property, desired: DesiredValue, subscriber: Subscriber, difference: PropertyDiff, *, believed: bool
) -> PropertyState:
    key = target.key
    if key in difference.send:
        return PropertyState.TO_BE_SENT
    if key in difference.settled:
        return PropertyState.SAME if believed else PropertyState.TO_BE_CHECKED
    if not (key in subscriber.applied and same(subscriber.applied[key], desired.value)):
        return PropertyState.SET_ASIDE
    shown = comparable(subscriber.observed.get(key), target.type)
    return PropertyState.SAME if same(shown, desired.value) else PropertyState.EDITED_THERE


def _subscriptions_rows(
    projection: Projection, catalog: Catalog, state: SubscriptionState | None
) -> Iterator[PropertyComparison]:
    problems = {each.property: each for each in projection.problems}
    to_send = {} if state is None else pending(projection.subscription_values(), state)
    for target in catalog:
        key = SUBSCRIPTION + target.key
        desired = projection.subscription.get(target.key)
        applied = None if state is None else state.applied.get(target.key)
        if desired is None:
            if key in problems:
                yield _without_value(key, target, problems[key], None, applied)
            continue
        reason = None
        if state is None:
            how = PropertyState.NO_SUBSCRIBER
        elif target.key in to_send:
            how = PropertyState.TO_BE_SENT
        elif target.key in state.applied and same(state.applied[target.key], desired.value):
            how = PropertyState.SAME
        else:
            how, reason = PropertyState.SET_ASIDE, state.set_aside[target.key][1]
        yield PropertyComparison(key, target, desired, None, applied, how, reason)


def _without_value(
    key: str, target: Property, problem: MappingProblem | None, observed: JsonValue, applied: JsonValue
) -> PropertyComparison:
    if problem is None:
        return PropertyComparison(key, target, None, observed, applied, PropertyState.NOT_FED)
    return PropertyComparison(key, target, None, observed, applied, PropertyState.PROBLEM, problem.reason, problem)
