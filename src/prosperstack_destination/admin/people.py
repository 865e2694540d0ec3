"""One person, found by email, user ID or profile ID, with all stored data."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from pydantic import JsonValue
from sqlalchemy import Connection

from prosperstack_destination.admin import labels
from prosperstack_destination.admin.comparison import PropertyComparison, compare
from prosperstack_destination.auth.vault import Vault, pseudonym_of_email
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
from prosperstack_destination.store import (
    accounts,
    activity,
    held_calls,
    problems,
    profile_queries,
    profiles,
    sources,
)
from prosperstack_destination.store.accounts import Account, OnDelete
from prosperstack_destination.store.activity import Event
from prosperstack_destination.store.models import IdKind, Profile, SourceKind, Status
from prosperstack_destination.store.problems import RecordedProblem
from prosperstack_destination.store.profile_queries import ProfilePage
from prosperstack_destination.store.sources import KnownSource


class NextStep(StrEnum):
    """Next action of the reconciler for a person."""

    #: Nothing to send.
    NOTHING = "nothing"
    #: Find the subscribers with the email, by a lookup or a listing, whichever is cheaper.
    LOOK_UP = "look_up"
    #: Update a subscriber with all that differs: one request.
    UPDATE = "update"
    #: Update the subscriptions that differ: one request each, and one to list them.
    UPDATE_SUBSCRIPTIONS = "update_subscriptions"
    #: Wait until a subscriber in ProsperStack has the email.
    WAIT_FOR_SUBSCRIBER = "wait_for_subscriber"
    #: Wait for the person's next call: ProsperStack rejected the email.
    WAIT_FOR_CALL = "wait_for_call"


@dataclass(frozen=True, slots=True)
class TraitView:
    """One trait of a person."""

    name: str
    value: JsonValue
    #: Event time, in microseconds since the epoch.
    at: int
    #: Engage's audience or computed trait that set it; None: a source set it; sources are not recorded per trait.
    source: KnownSource | None

    @property
    def computed(self) -> SourceKind | None:
        """Kind of Engage's audience or computed trait that set it."""
        return None if self.source is None else self.source.kind


@dataclass(frozen=True, slots=True)
class ExternalIdView:
    """An external ID that came with the person's email."""

    kind: IdKind
    id: str
    #: Event time of the latest call with both, in microseconds since the epoch.
    at: int


@dataclass(frozen=True, slots=True)
class SubscriberView:
    """Properties of one subscriber; the desired values alone if no subscriber is known."""

    #: ProsperStack's ID of the subscriber; None: no subscriber with the email is known.
    subscriber_id: str | None
    #: Time of the last observation in ProsperStack, in microseconds since the epoch.
    observed_at: int | None
    rows: tuple[PropertyComparison, ...]


@dataclass(frozen=True, slots=True)
class PersonView:
    """All stored data of one person, from Segment's traits to ProsperStack's values."""

    #: Email, status, start of the wait, lane, attempts: see `store.models.Profile`.
    profile: Profile
    #: Sorted by name.
    traits: tuple[TraitView, ...]
    #: Latest first.
    ids: tuple[ExternalIdView, ...]
    #: One for each subscriber with the email, by ID; one without a subscriber if none is known. Never empty.
    subscribers: tuple[SubscriberView, ...]
    #: Mapping problems and rejections under the current mapping, by property.
    problems: tuple[RecordedProblem, ...]
    next_step: NextStep
    #: Earliest next attempt after a failure or a lookup without a match, in microseconds since the epoch; None: due
    #: now, or nothing is pending.
    next_attempt_at: int | None
    #: Day of the latest call about the person, in microseconds since the epoch; None: not known.
    touched_at: int | None

    @property
    def in_words(self) -> str:
        """Status in a sentence, with the reason of the latest failure in ProsperStack's words."""
        text = labels.STATUS[self.profile.status]
        return text if self.profile.status_reason is None else f"{text} {self.profile.status_reason}"


def find(
    connection: Connection, account: Account, now: int, *, email: str | None = None, user_id: str | None = None
) -> PersonView:
    """Return the person with an email (in any case), or with a user ID. Raises `NotFoundError`."""
    return by_id(connection, account, profile_id(connection, account, email=email, user_id=user_id), now)


def profile_id(
    connection: Connection, account: Account, *, email: str | None = None, user_id: str | None = None
) -> int:
    """Return the ID of the profile with an email (in any case), or with a user ID.

    A user ID that had several emails leads to its current one, if that has a profile. Raises `NotFoundError`.
    """
    emails: Iterable[str] = [] if email is None else [normalize_email(email)]
    if user_id is not None:
        emails = profile_queries.emails_of_user(connection, account.id, user_id)
    for each in emails:
        profile = profiles.find(connection, account.id, each)
        if profile is not None:
            return profile.id
    raise NotFoundError(_not_found(connection, account, user_id))


def by_id(connection: Connection, account: Account, profile_id: int, now: int) -> PersonView:
    """Return the person with a profile ID. Raises `NotFoundError` if the account has none."""
    read = evaluation.load_profile(connection, account, profile_id)
    if read is None or read[1].profile.account_id != account.id:
        raise NotFoundError(f"The account has no profile {profile_id}: it may have been deleted.")
    meaning, known = read
    current = evaluation.evaluate(known, meaning, now)
    detail = profile_queries.detail(connection, profile_id)
    views = [
        SubscriberView(
            each.id,
            each.observed_at,
            compare(
                current.projection,
                meaning,
                each,
                known.states.get(each.id),
                confirmed=is_observed_after(known.profile, each, known.as_of),
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
        subscribers=tuple(views) or (SubscriberView(None, None, compare(current.projection, meaning, None)),),
        problems=_problems(connection, current, now),
        next_step=_next_step(current, detail.due_at),
        next_attempt_at=detail.due_at if left_alone else None,
        touched_at=detail.touched_at,
    )


@dataclass(frozen=True, slots=True)
class PersonHistory:
    """One person with the latest events, and the account as it is now."""

    account: Account
    person: PersonView
    #: Newest first.
    events: Sequence[Event]
    #: Effect of an erasure in ProsperStack.
    on_delete: OnDelete


def with_history(
    connection: Connection, account: Account, profile_id: int, vault: Vault, now: int, limit: int
) -> PersonHistory:
    """Return a person with at most ``limit`` events. Raises `NotFoundError` if the account has none."""
    account = accounts.get(connection, account.id) or account
    person = by_id(connection, account, profile_id, now)
    timeline, _ = latest_events(connection, account, vault, limit=limit, email=person.profile.email)
    return PersonHistory(account, person, timeline[::-1], account.on_delete)


def latest_events(
    connection: Connection, account: Account, vault: Vault, *, limit: int, after: int = 0, email: str | None = None
) -> tuple[list[Event], int]:
    """Return the latest events after an event ID, oldest first, and the ID of the newest.

    ``email``: only events of this person, in any case.
    """
    subject = None if email is None else pseudonym_of_email(vault, normalize_email(email))
    return activity.latest(connection, account.id, limit=limit, after=after, subject=subject)


def list_people(
    connection: Connection,
    account: Account,
    *,
    prefix: str = "",
    user_id: str | None = None,
    statuses: Sequence[Status] = (),
    after: str = "",
    limit: int,
) -> ProfilePage:
    """Return a page of profiles in the order of their emails, after the email ``after``.

    ``prefix``: that of the email, in any case. With a user ID, only the profile of its current email.
    """
    prefix = normalize_email(prefix)
    if user_id is None:
        return profile_queries.list_page(
            connection, account.id, after=after, limit=limit, prefix=prefix, statuses=statuses
        )
    emails = profile_queries.emails_of_user(connection, account.id, user_id)
    if not emails or not emails[0].startswith(prefix):
        return ProfilePage((), None)
    page = profile_queries.list_page(
        connection, account.id, after=after, limit=limit, prefix=emails[0], statuses=statuses
    )
    return ProfilePage(tuple(each for each in page.profiles if each.email == emails[0]), page.after)


def search(
    connection: Connection, account: Account, query: str, *, statuses: Sequence[Status], after: str, limit: int
) -> ProfilePage:
    """Return the profile with this user ID, then the profiles whose email starts with the query."""
    page = list_people(connection, account, prefix=query, statuses=statuses, after=after, limit=limit)
    if not query or after:
        return page
    for email in profile_queries.emails_of_user(connection, account.id, query):
        named = profile_queries.list_page(
            connection, account.id, after="", limit=1, prefix=email, statuses=statuses
        ).profiles
        if named and named[0].email == email:
            others = tuple(each for each in page.profiles if each.id != named[0].id)
            return ProfilePage((*named, *others), page.after)
    return page


def explain_no_result(connection: Connection, account: Account, query: str) -> str:
    """Return why a search for an email or a user ID has no match."""
    try:
        profile_id(connection, account, **({"email": query} if "@" in query else {"user_id": query}))
    except NotFoundError as error:
        return str(error)
    return "The person has another status than the selected one."


def _not_found(connection: Connection, account: Account, user_id: str | None) -> str:
    if user_id is None:
        return (
            f"No profile with this email in {account.fingerprint}: no call named it, or it was deleted. "
            "The audit log records deletions."
        )
    held = held_calls.of_ids(connection, account.id, [(IdKind.USER, user_id)])
    if held:
        [traits] = held.values()
        return (
            f"No email is known for this user ID yet. Engage's traits ({len(traits)}) are held until a call "
            "names the email."
        )
    return (
        f"No profile with this user ID in {account.fingerprint}: no call named it together with an email, or it "
        "was deleted. The audit log records deletions."
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


def _problems(connection: Connection, current: Evaluation, now: int) -> tuple[RecordedProblem, ...]:
    """Return the current problems; known ones keep their age."""
    profile = current.context.profile
    since = {
        (each.property, each.trait, each.reason): each.since for each in problems.of_profile(connection, profile.id)
    }
    found = [
        replace(each, since=since.get((each.property, each.trait, each.reason), now))
        for each in evaluation.problems_of(current, now)
    ]
    return tuple(sorted(found, key=lambda each: each.property))


def _next_step(current: Evaluation, due_at: int | None) -> NextStep:
    status, as_of = current.context.profile.status, current.context.as_of
    if status is Status.REJECTED:
        return NextStep.WAIT_FOR_CALL
    if status is Status.UNKNOWN and due_at is not None and (as_of is None or as_of < due_at):
        return NextStep.LOOK_UP
    match current.decision:
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
