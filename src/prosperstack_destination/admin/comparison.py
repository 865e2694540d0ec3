"""Desired, observed and applied properties compared, with the state of each. Pure functions.

They use the reconciler's own rules (`reconcile.three_way_diff`, `reconcile.decision`), so a property shown as to be
sent is one that the reconciler would send.
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
    """State of one property of one subscriber. `admin.labels` has a sentence for each."""

    #: ProsperStack has the desired value.
    SAME = "same"
    #: ProsperStack has another value: the desired one is sent in the profile's next update.
    TO_BE_SENT = "to_be_sent"
    #: ProsperStack had the desired value before the profile's newest change: a lookup comes first.
    TO_BE_CHECKED = "to_be_checked"
    #: The value was edited in ProsperStack after it was applied: the edit stays until Segment sends another value.
    EDITED_THERE = "edited_there"
    #: ProsperStack rejected the value: it is not sent again until it changes.
    SET_ASIDE = "set_aside"
    #: The trait that feeds the property cannot be converted to its type.
    PROBLEM = "problem"
    #: A value is desired, and no subscriber with the email is known.
    NO_SUBSCRIBER = "no_subscriber"
    #: No trait feeds the property: its value stays.
    NOT_FED = "not_fed"


@dataclass(frozen=True, slots=True)
class PropertyComparison:
    """One property of one subscriber."""

    #: Key of the property. Keys of subscription properties begin with ``subscription.``, as in rules.
    key: str
    #: The property, with its name and type.
    target: Property
    #: Desired value, and its cause; None: no trait gives it a value. (A `DesiredValue` whose value is None deletes
    #: it.)
    desired: DesiredValue | None
    #: Value that ProsperStack returned last; None: no value. Always None for subscription properties, which are not
    #: stored.
    observed: JsonValue
    #: Value settled last: sent, or already there; None: a deletion, or nothing yet.
    applied: JsonValue
    state: PropertyState
    #: Obstacle of `PropertyState.SET_ASIDE` (ProsperStack's message) and `PropertyState.PROBLEM`.
    reason: str | None = None
    #: Trait and value that cannot be converted, of `PropertyState.PROBLEM`.
    problem: MappingProblem | None = None


def compare(
    projection: Projection,
    mapping: AccountMapping,
    subscriber: Subscriber | None,
    state: SubscriptionState | None = None,
    *,
    confirmed: bool = True,
) -> tuple[PropertyComparison, ...]:
    """Compare every property of the catalog, in its order, then the subscription properties that a rule feeds.

    ``subscriber`` None: no subscriber with the email is known. ``state``: the applied values of the subscriptions.
    ``confirmed``: the subscriber was observed after the profile's newest change (see
    `reconcile.decision.is_observed_after`).
    """
    properties = _compare_properties(projection, mapping.catalog, subscriber, confirmed=confirmed)
    return (*properties, *_compare_subscriptions(projection, mapping.subscription_catalog, state))


def _compare_properties(
    projection: Projection, catalog: Catalog, subscriber: Subscriber | None, *, confirmed: bool
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
            state = _state(target, desired, subscriber, difference, confirmed=confirmed)
            reason = subscriber.rejected[target.key][1] if state is PropertyState.SET_ASIDE else None
            yield PropertyComparison(target.key, target, desired, observed, applied, state, reason)


def _state(
    target: Property, desired: DesiredValue, subscriber: Subscriber, difference: PropertyDiff, *, confirmed: bool
) -> PropertyState:
    key = target.key
    if key in difference.send:
        return PropertyState.TO_BE_SENT
    if key in difference.settled:
        return PropertyState.SAME if confirmed else PropertyState.TO_BE_CHECKED
    if not (key in subscriber.applied and same(subscriber.applied[key], desired.value)):
        return PropertyState.SET_ASIDE
    shown = comparable(subscriber.observed.get(key), target.type)
    return PropertyState.SAME if same(shown, desired.value) else PropertyState.EDITED_THERE


def _compare_subscriptions(
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
            property_state = PropertyState.NO_SUBSCRIBER
        elif target.key in to_send:
            property_state = PropertyState.TO_BE_SENT
        elif target.key in state.applied and same(state.applied[target.key], desired.value):
            property_state = PropertyState.SAME
        else:
            property_state, reason = PropertyState.SET_ASIDE, state.rejected[target.key][1]
        yield PropertyComparison(key, target, desired, None, applied, property_state, reason)


def _without_value(
    key: str, target: Property, problem: MappingProblem | None, observed: JsonValue, applied: JsonValue
) -> PropertyComparison:
    if problem is None:
        return PropertyComparison(key, target, None, observed, applied, PropertyState.NOT_FED)
    return PropertyComparison(key, target, None, observed, applied, PropertyState.PROBLEM, problem.reason, problem)
