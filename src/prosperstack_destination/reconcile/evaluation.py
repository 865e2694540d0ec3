"""Transactions that evaluate profiles and store the results."""

from collections import defaultdict
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
from prosperstack_destination.store.subscribers import AppliedValues, Subscriber
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
    #: True if more profiles may be due.
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
    evaluations: list[Evaluation] = []
    selected = [(profile, mapping) for profile in due if profile.id not in skip]
    for context, _ in load_contexts(connection, selected):
        try:
            evaluations.append(evaluate(context, mapping, now))
        except Exception as error:  # noqa: BLE001 -- an unexpected error for one profile must not stop the others
            faulty[context.profile.id] = type(error).__name__
    skipped = skip & ({profile.id for profile in due} | unreadable.keys())
    return EvaluationPage(evaluations, skipped, more=len(due) + len(unreadable) == limit, faulty=faulty)


def evaluate_profiles(
    connection: Connection, profile_ids: Set[int], mapping: AccountMapping, now: int
) -> dict[int | None, Evaluation | str]:
    """Return the evaluations of an account's profiles by ID, or the kinds of the errors that they raised."""
    faulty: dict[int, str] = {}
    found = profiles.of_ids(connection, profile_ids, faulty)
    evaluations: dict[int | None, Evaluation | str] = dict(faulty.items())
    for context, _ in load_contexts(connection, [(profile, mapping) for profile in found.values()]):
        try:
            evaluations[context.profile.id] = evaluate(context, mapping, now)
        except Exception as error:  # noqa: BLE001 -- an unexpected error for one profile must not stop the others
            evaluations[context.profile.id] = type(error).__name__
    return evaluations


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
    final: list[tuple[Profile, Status, int | None]] = []
    unconfirmed: dict[str, dict[str, Collection[str]]] = defaultdict(dict)
    in_place: list[AppliedValues] = []
    known: list[Evaluation] = []
    for evaluated in evaluations:
        profile = evaluated.context.profile
        match evaluated.decision:
            case NeedsUpdate(subscriber, send):
                if not send.keys() <= set(subscriber.unconfirmed):
                    sent = unconfirmed[profile.account_id]
                    sent[subscriber.id] = send.keys() | sent.get(subscriber.id, set())
                waiting.append((profile, Status.READY))
                known.append(evaluated)
            case NeedsSubscriptionUpdate():
                waiting.append((profile, Status.READY))
                known.append(evaluated)
            case NeedsLookup(by_email=True):
                waiting.append((profile, Status.READY))
            case NeedsLookup():
                waiting.append((profile, Status.UNKNOWN))
            case Unmatched(lookup_at):
                final.append((profile, Status.UNMATCHED, lookup_at))
            case InSync(already_there):
                in_place += [AppliedValues(profile.account_id, *found) for found in already_there.items()]
                final.append((profile, Status.IN_SYNC, None))
    subscriber_rows.mark_all_applied(connection, in_place)
    settled = profiles.settle_all(connection, final)
    for account_id, sent in unconfirmed.items():
        subscriber_rows.mark_unconfirmed(connection, account_id, sent)
    known += [each for each in evaluations if each.context.profile.id in settled]
    problems.replace_all(
        connection,
        {each.context.profile.id: (each.context.profile.account_id, problems_of(each, now)) for each in known},
    )
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
    [(context, _)] = load_contexts(connection, [(profile, mapping)])
    return context


def load_contexts(
    connection: Connection, selected: Sequence[tuple[Profile, AccountMapping]]
) -> list[tuple[ProfileContext, AccountMapping]]:
    """Return profiles, each with its account's mapping, with their contexts."""
    listings = listing_state.read_all(connection, {profile.account_id for profile, _ in selected})
    matching = subscriber_rows.of_addresses(
        connection, [(profile.account_id, profile.email) for profile, _ in selected]
    )
    contexts = []
    for profile, mapping in selected:
        listing = listings.get(profile.account_id, listing_state.NEVER_LISTED)
        subscribers = matching.get((profile.account_id, profile.email), [])
        states = _states(connection, profile.account_id, subscribers, mapping)
        context = ProfileContext(_without_outdated_loss(profile, listing), subscribers, listing.as_of, states)
        contexts.append((context, mapping))
    return contexts


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
