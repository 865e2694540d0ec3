"""Units of work that judge profiles and note what came of it."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from prosperstack_destination.mapping.projection import Projection, project
from prosperstack_destination.state import accounts, directory, listing, problems, profiles
from prosperstack_destination.state.accounts import AppliedMapping
from prosperstack_destination.state.directory import Subscriber
from prosperstack_destination.state.problems import RecordedProblem
from prosperstack_destination.state.profile import Profile, Status
from prosperstack_destination.sync.judging import Look, Miss, Settle, Update, Verdict, judge
from prosperstack_destination.sync.workplace import Meaning


@dataclass(frozen=True, slots=True)
class Known:
    """A profile, with the subscribers that are known to have its email."""

    profile: Profile
    subscribers: Sequence[Subscriber]
    #: When the directory was complete, in microseconds; None: never.
    as_of: int | None


@dataclass(frozen=True, slots=True)
class Judged:
    """What a profile needs."""

    known: Known
    projection: Projection
    verdict: Verdict


def to_judge(connection: Connection, account_id: str, now: int, limit: int) -> tuple[AppliedMapping, list[Known]]:
    """The profiles that have to be looked at by now, with what is known of them, and the mapping of that moment.

    They are read together: a mapping that is applied has every profile looked at, by that mapping.
    """
    as_of = listing.read(connection, account_id).as_of
    due = profiles.to_judge(connection, account_id, now, as_of, limit)
    known = directory.with_emails(connection, account_id, [profile.email for profile in due])
    found = [Known(profile, known.get(profile.email, ()), as_of) for profile in due]
    return accounts.mapping_in_force(connection, account_id), found


def of_profile(connection: Connection, account_id: str, profile_id: int) -> tuple[AppliedMapping, Known] | None:
    """One profile with what is known of it, and the mapping of that moment; None: it is not there."""
    known = _known(connection, profile_id)
    return None if known is None else (accounts.mapping_in_force(connection, account_id), known)


def judged(known: Known, meaning: Meaning, now: int) -> Judged:
    """What a profile needs now."""
    projection = project(known.profile.values(), meaning.catalog, meaning.rules)
    verdict = judge(known.profile, projection, known.subscribers, meaning.catalog, known.as_of, now)
    return Judged(known, projection, verdict)


def record(connection: Connection, verdicts: Sequence[Judged], now: int) -> None:
    """Note what profiles wait for, or that they are settled; what was found to be there already; their problems.

    A profile that changed meanwhile stays to be looked at.
    """
    waiting: list[tuple[Profile, Status]] = []
    for each in verdicts:
        profile = each.known.profile
        match each.verdict:
            case Update():
                waiting.append((profile, Status.READY))
                holds = True
            case Look():
                waiting.append((profile, Status.UNKNOWN))
                holds = False  # what ProsperStack rejected is not known yet
            case Miss(look_again_at):
                holds = profiles.settle(connection, profile, Status.UNMATCHED, look_again_at=look_again_at)
            case Settle(found):
                for subscriber_id, values in found.items():
                    directory.mark_applied(
                        connection, profile.account_id, subscriber_id, values, observed=None, now=now
                    )
                holds = profiles.settle(connection, profile, Status.IN_SYNC)
        if holds:
            problems.replace(connection, profile.account_id, profile.id, _problems(each, now))
    profiles.await_request(connection, waiting, now)


def judge_again(connection: Connection, profile: Profile, meaning: Meaning, now: int) -> None:
    """Note what is left to do for this version of a profile. One that changed meanwhile stays to be looked at."""
    known = _known(connection, profile.id)
    if known is not None and known.profile.version == profile.version:
        record(connection, [judged(known, meaning, now)], now)


def _known(connection: Connection, profile_id: int) -> Known | None:
    profile = profiles.get(connection, profile_id)
    if profile is None:
        return None
    as_of = listing.read(connection, profile.account_id).as_of
    return Known(profile, directory.with_email(connection, profile.account_id, profile.email), as_of)


def _problems(each: Judged, now: int) -> list[RecordedProblem]:
    """What cannot be sent, and what ProsperStack rejected, of what is desired now; one a property."""
    found = {
        problem.property: RecordedProblem(problem.property, problem.trait, problem.value, problem.reason, now)
        for problem in each.projection.problems
    }
    for subscriber in each.known.subscribers:
        for key, (value, reason) in subscriber.set_aside.items():
            desired = each.projection.desired.get(key)
            if desired is not None and desired.value == value:
                found[key] = RecordedProblem(key, desired.trait, value, f"ProsperStack rejects it: {reason}", now)
    return list(found.values())
