"""Units of work that judge profiles and note what came of it."""

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
from prosperstack_destination.store.problems import RecordedProblem, as_rejected
from prosperstack_destination.store.subscribers import Subscriber
from prosperstack_destination.store.subscription_states import SubscriptionState


@dataclass(frozen=True, slots=True)
class ProfileContext:
    """A profile, with the subscribers that are known to have its email."""

    profile: Profile
    subscribers: Sequence[Subscriber]
    #: When the directory was complete, in microseconds; None: never.
    as_of: int | None
    #: What was settled on subscriptions, by subscriber id, where a rule asks for any.
    states: Mapping[str, SubscriptionState] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a profile needs."""

    context: ProfileContext
    projection: Projection
    decision: Decision


@dataclass(frozen=True, slots=True)
class EvaluationPage:
    """Some of the profiles that had to be looked at."""

    evaluations: Sequence[Evaluation]
    #: Profiles, by id, that were to be left alone.
    passed_over: Set[int]
    #: Whether there may be others that have to be looked at.
    more: bool
    #: Profiles, by id, that cannot be judged, and the kind of error that keeps each from it: a fault of ours.
    faulty: Mapping[int, str] = field(default_factory=dict)


def evaluate_due(
    connection: Connection, account: Account, now: int, limit: int, passing_over: Set[int]
) -> EvaluationPage:
    """Judge up to so many of the profiles that have to be looked at by now; ``passing_over`` some, by their ids.

    They are read together with what traits mean: a mapping that is applied has the profiles looked at that it
    changes, by that mapping. They are judged here, since units of work need not hold up the event loop.
    """
    meaning = load(connection, account)
    listed = listing_state.read(connection, account.id)
    unreadable: dict[int, str] = {}
    due = profiles.due(connection, account.id, now, listed.as_of, limit, unreadable)
    faulty = {profile_id: kind for profile_id, kind in unreadable.items() if profile_id not in passing_over}
    free = [profile for profile in due if profile.id not in passing_over]
    subscribers = subscriber_rows.with_emails(connection, account.id, [profile.email for profile in free])
    found: list[Evaluation] = []
    for profile in free:
        theirs = subscribers.get(profile.email, ())
        states = _states(connection, account.id, theirs, meaning)
        known = ProfileContext(_as_shown(profile, listed), theirs, listed.as_of, states)
        try:
            found.append(evaluate(known, meaning, now))
        except Exception as error:  # noqa: BLE001 -- whatever is wrong with one profile: the others go on
            faulty[profile.id] = type(error).__name__
    passed_over = passing_over & ({profile.id for profile in due} | unreadable.keys())
    return EvaluationPage(found, passed_over, more=len(due) + len(unreadable) == limit, faulty=faulty)


def of_profile(
    connection: Connection, account: Account, profile_id: int
) -> tuple[AccountMapping, ProfileContext] | None:
    """One profile with what is known of it, and what traits mean then; None: it is not there."""
    meaning = load(connection, account)
    known = _known(connection, profile_id, meaning)
    return None if known is None else (meaning, known)


def evaluate(known: ProfileContext, meaning: AccountMapping, now: int) -> Evaluation:
    """What a profile needs now."""
    projection = meaning.compiled.project(mapping_input(known.profile))
    verdict = decide(known.profile, projection, known.subscribers, meaning.catalog, known.as_of, now)
    if isinstance(verdict, InSync) and not verdict.found and projection.subscription:
        desired = projection.subscription_values()
        behind = [each for each in known.subscribers if pending(desired, known.states[each.id])]
        if behind:
            verdict = NeedsSubscriptionUpdate(tuple(behind))
    return Evaluation(known, projection, verdict)


def record(connection: Connection, verdicts: Sequence[Evaluation], now: int) -> None:
    """Note what an account's profiles wait for, or that they are settled; what was there already; their problems.

    What is to be sent is not settled any more from then on, whatever becomes of the update. A profile that changed
    meanwhile stays to be looked at.
    """
    if not verdicts:
        return
    waiting: list[tuple[Profile, Status]] = []
    sent: dict[str, Collection[str]] = {}
    found: dict[int, Sequence[RecordedProblem]] = {}
    for each in verdicts:
        profile = each.context.profile
        match each.decision:
            case NeedsUpdate(subscriber, send):
                if not send.keys() <= set(subscriber.unconfirmed):
                    sent[subscriber.id] = send.keys() | sent.get(subscriber.id, set())
                waiting.append((profile, Status.READY))
                holds = True
            case NeedsSubscriptionUpdate():
                waiting.append((profile, Status.READY))
                holds = True
            case NeedsLookup(by_email=True):
                waiting.append((profile, Status.READY))
                holds = False
            case NeedsLookup():
                waiting.append((profile, Status.UNKNOWN))
                holds = False  # what ProsperStack rejected is not known yet
            case Unmatched(look_again_at):
                holds = profiles.settle(connection, profile, Status.UNMATCHED, look_again_at=look_again_at)
            case InSync(there):
                for subscriber_id, values in there.items():
                    subscriber_rows.mark_applied(
                        connection, profile.account_id, subscriber_id, values, observed=None, now=now
                    )
                holds = profiles.settle(connection, profile, Status.IN_SYNC)
        if holds:
            found[profile.id] = problems_of(each, now)
    account_id = verdicts[0].context.profile.account_id
    if sent:
        subscriber_rows.mark_unconfirmed(connection, account_id, sent)
    if found:
        problems.replace(connection, account_id, found)
    profiles.mark_waiting(connection, waiting, now)


def reevaluate(connection: Connection, profile: Profile, meaning: AccountMapping, now: int) -> bool:
    """Note what is left to do for this version of a profile; whether nothing is, and it is settled.

    One that changed meanwhile stays to be looked at.
    """
    known = _known(connection, profile.id, meaning)
    if known is None or known.profile.version != profile.version:
        return False
    again = evaluate(known, meaning, now)
    record(connection, [again], now)
    return isinstance(again.decision, InSync)


def _known(connection: Connection, profile_id: int, meaning: AccountMapping) -> ProfileContext | None:
    profile = profiles.get(connection, profile_id)
    if profile is None:
        return None
    listed = listing_state.read(connection, profile.account_id)
    found = subscriber_rows.with_email(connection, profile.account_id, profile.email)
    states = _states(connection, profile.account_id, found, meaning)
    return ProfileContext(_as_shown(profile, listed), found, listed.as_of, states)


def _as_shown(profile: Profile, listed: ListingState) -> Profile:
    """A profile whose subscribers were lost, unless the directory would show them again by now."""
    if profile.lost_at is None or not listed.shows(profile.lost_at):
        return profile
    return replace(profile, lost_at=None)


def _states(
    connection: Connection, account_id: str, found: Sequence[Subscriber], meaning: AccountMapping
) -> dict[str, SubscriptionState]:
    if not meaning.rules.for_subscriptions:
        return {}
    return {each.id: subscription_states.of_subscriber(connection, account_id, each.id) for each in found}


def problems_of(each: Evaluation, now: int) -> list[RecordedProblem]:
    """What cannot be sent, and what ProsperStack rejected, of what is desired now; one a property."""
    found = {
        problem.property: RecordedProblem(problem.property, problem.trait, problem.value, problem.reason, now)
        for problem in each.projection.problems
    }
    for subscriber in each.context.subscribers:
        for key, (value, reason) in subscriber.rejected.items():
            desired = each.projection.desired.get(key)
            if desired is not None and same(value, desired.value) and not _is_there(each, subscriber, key, value):
                found[key] = RecordedProblem(key, desired.trait, value, as_rejected(reason), now)
    for state in each.context.states.values():
        for problem in rejections(state, each.projection):
            found[problem.property] = RecordedProblem(
                problem.property, problem.trait, problem.value, problem.reason, now
            )
    return list(found.values())


def _is_there(each: Evaluation, subscriber: Subscriber, key: str, value: JsonValue) -> bool:
    """Whether a subscriber has a value by now that ProsperStack rejected: somebody may have entered it there."""
    if isinstance(each.decision, InSync) and key in each.decision.found.get(subscriber.id, {}):
        return True
    return key in subscriber.applied and same(subscriber.applied[key], value)
