"""One person: found by email, user id or profile id, with everything that is known of them."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from pydantic import JsonValue
from sqlalchemy import Connection

from prosperstack_destination.admin import labels
from prosperstack_destination.admin.comparison import PropertyComparison, compare
from prosperstack_destination.emails import normalize_email
from prosperstack_destination.errors import NotFoundError
from prosperstack_destination.reconcile import evaluation
from prosperstack_destination.reconcile.decision import (
    InSync,
    NeedsLookup,
    NeedsSubscriptionUpdate,
    NeedsUpdate,
    Unmatched,
    is_observed_after,
)
from prosperstack_destination.reconcile.evaluation import Evaluation
from prosperstack_destination.store import held_calls, problems, profile_queries, profiles, sources
from prosperstack_destination.store.accounts import Account
from prosperstack_destination.store.models import IdKind, Profile, SourceKind, Status
from prosperstack_destination.store.problems import RecordedProblem
from prosperstack_destination.store.sources import KnownSource


class NextStep(StrEnum):
    """What the reconciler does for a person when it is their turn, as things are."""

    #: Nothing has to be sent.
    NOTHING = "nothing"
    #: Ask ProsperStack who has the email, or list who was updated: whichever is cheaper.
    LOOK_UP = "look_up"
    #: Update a subscriber with everything that is to be sent: one request.
    UPDATE = "update"
    #: Update the subscriptions that differ: a request each, and one to list them.
    UPDATE_SUBSCRIPTIONS = "update_subscriptions"
    #: Wait until somebody in ProsperStack has the email.
    WAIT_FOR_SUBSCRIBER = "wait_for_subscriber"
    #: Wait for the person's next call: ProsperStack rejects the email.
    WAIT_FOR_CALL = "wait_for_call"


@dataclass(frozen=True, slots=True)
class TraitView:
    """What Segment says of a person under one name."""

    name: str
    value: JsonValue
    #: Its event time, in microseconds since the epoch.
    at: int
    #: The audience or computed trait of Engage's that it is; None: a source said it; which one is not kept.
    source: KnownSource | None


@dataclass(frozen=True, slots=True)
class ExternalIdView:
    """An id that came with the person's email."""

    kind: IdKind
    id: str
    #: When it came with the email last (event time), in microseconds since the epoch.
    at: int


@dataclass(frozen=True, slots=True)
class SubscriberView:
    """The properties of one subscriber; where none is known, what is desired of nobody yet."""

    #: ProsperStack's id of the subscriber; None: nobody is known to have the email.
    subscriber_id: str | None
    #: When ProsperStack last showed them, in microseconds since the epoch.
    observed_at: int | None
    rows: tuple[PropertyComparison, ...]


@dataclass(frozen=True, slots=True)
class PersonView:
    """Everything that is known of one person, from what Segment says to what ProsperStack has."""

    #: Email, status, since when something is pending, lane, attempts: see `store.models.Profile`.
    profile: Profile
    #: By name.
    traits: tuple[TraitView, ...]
    #: The latest first.
    ids: tuple[ExternalIdView, ...]
    #: One for each subscriber with the email, by id; one without a subscriber where none is known: never empty.
    sides: tuple[SubscriberView, ...]
    #: What cannot be sent, or was rejected by ProsperStack, under the mapping in force; by property.
    problems: tuple[RecordedProblem, ...]
    next_step: NextStep
    #: Until when they are left alone, after an attempt that failed or a look-up that found nobody, in microseconds
    #: since the epoch; None: nothing keeps what is pending but its turn, or nothing is pending.
    next_attempt_at: int | None
    #: When a call was about them last, to the day, in microseconds since the epoch; None: not known.
    touched_at: int | None

    @property
    def in_words(self) -> str:
        """How they stand, and why: the reason of the latest failure is ProsperStack's."""
        said = labels.STATUS[self.profile.status]
        return said if self.profile.status_reason is None else f"{said} {self.profile.status_reason}"


def find(
    connection: Connection, account: Account, now: int, *, email: str | None = None, user_id: str | None = None
) -> PersonView:
    """The person with an email (in any case), or with a user id. Raises `NotFoundError` where nobody is known
    by it.
    """
    return by_id(connection, account, profile_id(connection, account, email=email, user_id=user_id), now)


def profile_id(
    connection: Connection, account: Account, *, email: str | None = None, user_id: str | None = None
) -> int:
    """The id of the profile with an email (in any case), or with a user id.

    A user id that had several emails leads to the one that it has, if that has a profile. Raises `NotFoundError`.
    """
    emails: Iterable[str] = [] if email is None else [normalize_email(email)]
    if user_id is not None:
        emails = profile_queries.emails_of_user(connection, account.id, user_id)
    for each in emails:
        profile = profiles.find(connection, account.id, each)
        if profile is not None:
            return profile.id
    raise NotFoundError(_nobody(connection, account, user_id))


def by_id(connection: Connection, account: Account, profile_id: int, now: int) -> PersonView:
    """The person with a profile of this id. Raises `NotFoundError` where the account has none."""
    read = evaluation.load_profile(connection, account, profile_id)
    if read is None or read[1].profile.account_id != account.id:
        raise NotFoundError(f"The account has no profile {profile_id}: it may have been deleted.")
    meaning, known = read
    judged = evaluation.evaluate(known, meaning, now)
    detail = profile_queries.detail(connection, profile_id)
    sides = [
        SubscriberView(
            each.id,
            each.observed_at,
            compare(
                judged.projection,
                meaning,
                each,
                known.states.get(each.id),
                believed=is_observed_after(known.profile, each, known.as_of),
            ),
        )
        for each in known.subscribers
    ]
    left_alone = detail.due_at is not None and detail.due_at > now
    return PersonView(
        profile=known.profile,
        traits=_traits(connection, known.profile),
        ids=tuple(
            ExternalIdView(kind, each, at)
            for (kind, each), at in sorted(detail.ids.items(), key=lambda item: item[1], reverse=True)
        ),
        sides=tuple(sides) or (SubscriberView(None, None, compare(judged.projection, meaning, None)),),
        problems=_problems(connection, judged, now),
        next_step=_next_step(judged, detail.due_at),
        next_attempt_at=detail.due_at if left_alone else None,
        touched_at=detail.touched_at,
    )


def _nobody(connection: Connection, account: Account, user_id: str | None) -> str:
    if user_id is None:
        return (
            f"Nobody with this email is known to {account.fingerprint}: no call named them, or they were deleted, "
            "which the audit trail shows."
        )
    held = held_calls.of_ids(connection, account.id, [(IdKind.USER, user_id)])
    if held:
        [traits] = held.values()
        return (
            f"No email is known for this user id yet. What Engage said of it ({len(traits)} traits) is held until "
            "a call names one."
        )
    return (
        f"Nobody with this user id is known to {account.fingerprint}: no call named it together with an email, or "
        "they were deleted, which the audit trail shows."
    )


def _traits(connection: Connection, profile: Profile) -> tuple[TraitView, ...]:
    computed = {
        each.key: each
        for each in sources.of_account(connection, profile.account_id)
        if each.kind is not SourceKind.SOURCE
    }
    return tuple(
        TraitView(name, value, at, computed.get(name)) for name, (value, at) in sorted(profile.traits.items())
    )


def _problems(connection: Connection, judged: Evaluation, now: int) -> tuple[RecordedProblem, ...]:
    """The problems as of now; those that were met before have their age."""
    profile = judged.context.profile
    since = {
        (each.property, each.trait, each.reason): each.since for each in problems.of_profile(connection, profile.id)
    }
    found = [
        replace(each, since=since.get((each.property, each.trait, each.reason), now))
        for each in evaluation.problems_of(judged, now)
    ]
    return tuple(sorted(found, key=lambda each: each.property))


def _next_step(judged: Evaluation, due_at: int | None) -> NextStep:
    status, as_of = judged.context.profile.status, judged.context.as_of
    if status is Status.SET_ASIDE:
        return NextStep.WAIT_FOR_CALL
    if status is Status.UNKNOWN and due_at is not None and (as_of is None or as_of < due_at):
        return NextStep.LOOK_UP
    match judged.decision:
        case NeedsLookup():
            return NextStep.LOOK_UP
        case NeedsUpdate():
            return NextStep.UPDATE
        case NeedsSubscriptionUpdate():
            return NextStep.UPDATE_SUBSCRIPTIONS
        case Unmatched():
            return NextStep.WAIT_FOR_SUBSCRIBER
        case InSync():
            return NextStep.NOTHING
