"""Transactions that evaluate profiles and store the results."""

from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace

from pydantic import JsonValue
from sqlalchemy import Connection

from prosperstack_destination.account_mapping import AccountMapping, load, mapping_input
from prosperstack_destination.mapping.projection import Projection
from prosperstack_destination.reconcile.decision import (
    Decision,
    InSync,
    NeedsLookup,
    NeedsSubscriptionUpdate,
    NeedsUpdate,
    Unmatched,
    decide,
)
from prosperstack_destination.reconcile.subscriptions import pending, rejections
from prosperstack_destination.reconcile.three_way_diff import same
from prosperstack_destination.store import listing_state, problems, profiles, subscription_states
from prosperstack_destination.store import subscribers as subscriber_rows
from prosperstack_destination.store.accounts import Account
from prosperstack_destination.store.listing_state import ListingState
from prosperstack_destination.store.models import Profile, Status
from prosperstack_destination.store.problems import RecordedProblem, rejection_reason
from prosperstack_destination.store.subscribers import Subscriber
from prosperstack_destination.store.subscription_states import SubscriptionState


@dataclass(frozen=True, slots=True)
class ProfileContext:
    """A profile and the subscribers known to have its email."""

    profile: Profile
    subscribers: Sequence[Subscriber]
    #: Time of the latest complete listing, in microseconds; None: none was completed.
    as_of: int | None
    #: Subscription states by subscriber id; empty where no rule targets subscriptions.
    states: Mapping[str, SubscriptionState] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Projection and decision of one profile."""

    context: ProfileContext
    projection: Projection
    decision: Decision


@dataclass(frozen=True, slots=True)
class EvaluationPage:
    """Evaluations of some of the due profiles."""

    evaluations: Sequence[Evaluation]
    #: Ids of due profiles that were skipped.
    skipped: Set[int]
    #: Whether more profiles may be due.
    more: bool
    #: Ids of profiles that raised an unexpected error, with the kind of the error.
    faulty: Mapping[int, str] = field(default_factory=dict)


def evaluate_due(connection: Connection, account: Account, now: int, limit: int, skip: Set[int]) -> EvaluationPage:
    """Evaluate up to ``limit`` due profiles, except those whose ids are in ``skip``.

    Profiles and mapping are read in one transaction: a profile that is due because of a mapping version is
    evaluated with it. The evaluation runs here, in the database's thread, so that it does not block the event loop.
    """
    mapping = load(connection, account)
    listing = listing_state.read(connection, account.id)
    unreadable: dict[int, str] = {}
    due = profiles.due(connection, account.id, now, listing.as_of, limit, unreadable)
    faulty = {profile_id: kind for profile_id, kind in unreadable.items() if profile_id not in skip}
    selected = [profile for profile in due if profile.id not in skip]
    subscribers = subscriber_rows.with_emails(connection, account.id, [profile.email for profile in selected])
    evaluations: list[Evaluation] = []
    for profile in selected:
        matching = subscribers.get(profile.email, ())
        states = _states(connection, account.id, matching, mapping)
        context = ProfileContext(_without_outdated_loss(profile, listing), matching, listing.as_of, states)
        try:
            evaluations.append(evaluate(context, mapping, now))
        except Exception as error:  # noqa: BLE001 -- an unexpected error for one profile must not stop the others
            faulty[profile.id] = type(error).__name__
    skipped = skip & ({profile.id for profile in due} | unreadable.keys())
    return EvaluationPage(evaluations, skipped, more=len(due) + len(unreadable) == limit, faulty=faulty)


def load_profile(
    connection: Connection, account: Account, profile_id: int
) -> tuple[AccountMapping, ProfileContext] | None:
    """Return the account's mapping and a profile with its context; None where the profile does not exist."""
    mapping = load(connection, account)
    context = _load_context(connection, profile_id, mapping)
    return None if context is None else (mapping, context)


def evaluate(context: ProfileContext, mapping: AccountMapping, now: int) -> Evaluation:
    """Return what a profile needs now."""
    projection = mapping.compiled.project(mapping_input(context.profile, now))
    decision = decide(context.profile, projection, context.subscribers, mapping.catalog, context.as_of, now)
    if isinstance(decision, InSync) and not decision.already_there and projection.subscription:
        desired = projection.subscription_values()
        outdated = [
            subscriber for subscriber in context.subscribers if pending(desired, context.states[subscriber.id])
        ]
        if outdated:
            decision = NeedsSubscriptionUpdate(tuple(outdated))
    return Evaluation(context, projection, decision)


def record(connection: Connection, evaluations: Sequence[Evaluation], now: int) -> None:
    """Store the decisions: statuses, values found in place, values about to be sent, mapping problems.

    From then on a value about to be sent counts as unconfirmed until its update is delivered. A profile that
    changed meanwhile stays due.
    """
    if not evaluations:
        return
    waiting: list[tuple[Profile, Status]] = []
    unconfirmed: dict[str, Collection[str]] = {}
    problems_by_profile: dict[int, Sequence[RecordedProblem]] = {}
    for evaluated in evaluations:
        profile = evaluated.context.profile
        match evaluated.decision:
            case NeedsUpdate(subscriber, send):
                if not send.keys() <= set(subscriber.unconfirmed):
                    unconfirmed[subscriber.id] = send.keys() | unconfirmed.get(subscriber.id, set())
                waiting.append((profile, Status.READY))
                settled = True
            case NeedsSubscriptionUpdate():
                waiting.append((profile, Status.READY))
                settled = True
            case NeedsLookup(by_email=True):
                waiting.append((profile, Status.READY))
                settled = False
            case NeedsLookup():
                waiting.append((profile, Status.UNKNOWN))
                settled = False  # rejections are not known yet
            case Unmatched(lookup_at):
                settled = profiles.settle(connection, profile, Status.UNMATCHED, due_at=lookup_at)
            case InSync(already_there):
                for subscriber_id, values in already_there.items():
                    subscriber_rows.mark_applied(
                        connection, profile.account_id, subscriber_id, values, observed=None, now=now
                    )
                settled = profiles.settle(connection, profile, Status.IN_SYNC)
        if settled:
            problems_by_profile[profile.id] = problems_of(evaluated, now)
    account_id = evaluations[0].context.profile.account_id
    if unconfirmed:
        subscriber_rows.mark_unconfirmed(connection, account_id, unconfirmed)
    if problems_by_profile:
        problems.replace(connection, account_id, problems_by_profile)
    profiles.mark_waiting(connection, waiting, now)


def reevaluate(connection: Connection, profile: Profile, mapping: AccountMapping, now: int) -> bool:
    """Evaluate this version of a profile again and store the result; return whether it is in sync.

    A profile that changed meanwhile stays due.
    """
    context = _load_context(connection, profile.id, mapping)
    if context is None or context.profile.version != profile.version:
        return False
    evaluated = evaluate(context, mapping, now)
    record(connection, [evaluated], now)
    return isinstance(evaluated.decision, InSync)


def _load_context(connection: Connection, profile_id: int, mapping: AccountMapping) -> ProfileContext | None:
    profile = profiles.get(connection, profile_id)
    if profile is None:
        return None
    listing = listing_state.read(connection, profile.account_id)
    matching = subscriber_rows.with_email(connection, profile.account_id, profile.email)
    states = _states(connection, profile.account_id, matching, mapping)
    return ProfileContext(_without_outdated_loss(profile, listing), matching, listing.as_of, states)


def _without_outdated_loss(profile: Profile, listing: ListingState) -> Profile:
    """Clear ``lost_at`` where a listing made since then would show the lost subscribers."""
    if profile.lost_at is None or not listing.covers(profile.lost_at):
        return profile
    return replace(profile, lost_at=None)


def _states(
    connection: Connection, account_id: str, subscribers: Sequence[Subscriber], mapping: AccountMapping
) -> dict[str, SubscriptionState]:
    if not mapping.rules.for_subscriptions:
        return {}
    return {
        subscriber.id: subscription_states.of_subscriber(connection, account_id, subscriber.id)
        for subscriber in subscribers
    }


def problems_of(evaluation: Evaluation, now: int) -> list[RecordedProblem]:
    """Return the mapping problems and the rejections of values that are desired now; one per property."""
    by_property = {
        problem.property: RecordedProblem(problem.property, problem.trait, problem.value, problem.reason, now)
        for problem in evaluation.projection.problems
    }
    for subscriber in evaluation.context.subscribers:
        for key, (value, reason) in subscriber.rejected.items():
            desired = evaluation.projection.desired.get(key)
            if (
                desired is not None
                and same(value, desired.value)
                and not _is_in_place(evaluation, subscriber, key, value)
            ):
                by_property[key] = RecordedProblem(key, desired.trait, value, rejection_reason(reason), now)
    for state in evaluation.context.states.values():
        for problem in rejections(state, evaluation.projection):
            by_property[problem.property] = RecordedProblem(
                problem.property, problem.trait, problem.value, problem.reason, now
            )
    return list(by_property.values())


def _is_in_place(evaluation: Evaluation, subscriber: Subscriber, key: str, value: JsonValue) -> bool:
    """Return whether the subscriber has a rejected value after all: someone may have entered it in ProsperStack."""
    if isinstance(evaluation.decision, InSync) and key in evaluation.decision.already_there.get(subscriber.id, {}):
        return True
    return key in subscriber.applied and same(subscriber.applied[key], value)
