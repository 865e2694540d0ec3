"""Accounts, what feeds their properties, what goes wrong, and the people in them."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field, JsonValue
from sqlalchemy import Connection

from prosperstack_destination.accounts.meaning import of_account, person_of
from prosperstack_destination.api.context import Operator, TheAccount, TheDesk, shown_time, shown_time_or_none
from prosperstack_destination.api.routing import REFUSALS, ApiRoute
from prosperstack_destination.errors import NotHere
from prosperstack_destination.mapping.coercion import PropertyValue
from prosperstack_destination.mapping.desired import Projection
from prosperstack_destination.mapping.rules import SUBSCRIPTION
from prosperstack_destination.state import accounts, browsing, problems
from prosperstack_destination.state.accounts import Account, AccountStatus
from prosperstack_destination.state.browsing import Looked
from prosperstack_destination.state.profile import Status
from prosperstack_destination.sync.covering import coverage
from prosperstack_destination.sync.previewing import SAMPLE

router = APIRouter(prefix="/api/accounts", tags=["profiles"], route_class=ApiRoute)

#: The most profiles in one answer.
PAGE = 200


class ShownAccount(BaseModel):
    """One account."""

    id: str
    fingerprint: str
    live: bool
    status: AccountStatus
    status_reason: str | None


class ShownProperty(BaseModel):
    """How a property is filled."""

    property: str
    name: str
    type: str
    fed_by: list[dict[str, str]] = Field(description="`trait` (or expression) and `matched_by`, by frequency.")
    ignored: bool
    filled: int = Field(description="Profiles that give it a value.")
    problems: int
    sample: PropertyValue = Field(description="The newest.")


class ShownTrait(BaseModel):
    """Where a trait goes."""

    trait: str
    seen: int = Field(description="Profiles that have it.")
    feeds: list[str] = Field(description="The properties that take it.")
    likeliest: str | None = Field(description="Where none does: the property whose name is likest.")
    alike: float = Field(description="How alike, of 100.")
    type: str | None = Field(description="What a property for it would be.")
    audience: bool
    sample: JsonValue


class ShownCoverage(BaseModel):
    """What feeds what."""

    profiles: int
    counted: int = Field(description="Of how many of them the figures are.")
    properties: list[ShownProperty]
    traits: list[ShownTrait]


class ShownSample(BaseModel):
    """One profile with a problem."""

    email: str
    trait: str
    value: JsonValue


class ShownProblems(BaseModel):
    """Problems of one property with the same reason."""

    property: str
    reason: str
    count: int
    since: datetime
    samples: list[ShownSample]


class ListedProfile(BaseModel):
    """One person in a list."""

    id: int
    email: str
    user_id: str | None
    status: Status
    status_reason: str | None
    pending_since: datetime | None


class Profiles(BaseModel):
    """A page of people; `after` asks for the next one, null ends the list."""

    profiles: list[ListedProfile]
    after: str | None


class ShownValue(BaseModel):
    """A trait's value, and when it was true."""

    value: JsonValue
    at: datetime


class ShownDesired(BaseModel):
    """What a property should be, and why."""

    value: PropertyValue
    trait: str
    matched_by: str


class ShownSubscriber(BaseModel):
    """One subscriber of ProsperStack's with the person's email."""

    id: str
    observed: dict[str, JsonValue] = Field(description="What ProsperStack showed last.")
    applied: dict[str, JsonValue] = Field(description="What was settled last.")
    set_aside: dict[str, str] = Field(description="Properties that ProsperStack rejected, and why.")


class ShownProblem(BaseModel):
    """A trait that feeds a property and cannot."""

    property: str
    trait: str
    value: JsonValue
    reason: str


class ShownProfile(ListedProfile):
    """All that is known of a person."""

    anonymous_id: str | None
    version: int
    attempts: int
    looked_up_at: datetime | None
    traits: dict[str, ShownValue]
    desired: dict[str, ShownDesired]
    subscribers: list[ShownSubscriber]
    problems: list[ShownProblem] = Field(description="Under the mapping in force.")


@router.get("", responses=REFUSALS, tags=["accounts"])
async def list_accounts(desk: TheDesk, _: Operator) -> list[ShownAccount]:
    """Every account."""
    return [
        ShownAccount(
            id=each.id,
            fingerprint=each.fingerprint,
            live=each.live,
            status=each.status,
            status_reason=each.status_reason,
        )
        for each in await desk.database.read(accounts.every)
    ]


@router.get("/{account_id}/coverage", responses=REFUSALS, tags=["mapping"])
async def show_coverage(desk: TheDesk, account: TheAccount, exact: bool = False) -> ShownCoverage:
    """What feeds each property, and where each trait goes; of more than 50,000 profiles a part is counted."""
    async with desk.scanning:
        found, profiles = await coverage(desk.database, account.id, sample=None if exact else SAMPLE)
    return ShownCoverage(
        profiles=profiles,
        counted=found.profiles,
        properties=[
            ShownProperty(
                property=each.property,
                name=each.name,
                type=each.type,
                fed_by=[{"trait": trait, "matched_by": why} for trait, why in each.fed_by],
                ignored=each.ignored,
                filled=each.filled,
                problems=each.problems,
                sample=each.sample,
            )
            for each in found.properties()
        ],
        traits=[
            ShownTrait(
                trait=each.trait,
                seen=each.seen,
                feeds=list(each.feeds),
                likeliest=each.likeliest,
                alike=each.alike,
                type=each.type,
                audience=each.audience,
                sample=each.sample,
            )
            for each in found.traits()
        ],
    )


@router.get("/{account_id}/problems", responses=REFUSALS, tags=["mapping"])
async def show_problems(
    desk: TheDesk, account: TheAccount, limit: Annotated[int, Query(ge=1, le=500)] = 100
) -> list[ShownProblems]:
    """Problems by property and reason, the most frequent first; what is fixed goes by itself."""
    return [
        ShownProblems(
            property=each.property,
            reason=each.reason,
            count=each.count,
            since=shown_time(each.since),
            samples=[ShownSample(email=one.email, trait=one.trait, value=one.value) for one in each.samples],
        )
        for each in await desk.database.read(problems.grouped, account.id, limit=limit)
    ]


@router.get("/{account_id}/profiles", responses=REFUSALS)
async def list_profiles(
    desk: TheDesk,
    account: TheAccount,
    email: Annotated[str, Query(max_length=500, description="How the email begins.")] = "",
    user_id: Annotated[str | None, Query(max_length=1000, description="The userId.")] = None,
    status: Status | None = None,
    after: Annotated[str, Query(max_length=500, description="As the page before named it.")] = "",
    limit: Annotated[int, Query(ge=1, le=PAGE)] = 50,
) -> Profiles:
    """People in the order of their emails."""
    prefix = email.strip().lower()
    if user_id is not None:
        known = await desk.database.read(browsing.email_of_user, account.id, user_id)
        if known is None or not known.startswith(prefix):
            return Profiles(profiles=[], after=None)
        prefix = known
    found = await desk.database.read(
        browsing.listed, account.id, after=after, limit=limit, prefix=prefix, status=status
    )
    if user_id is not None:
        found = [each for each in found if each.email == prefix]
    return Profiles(
        profiles=[
            ListedProfile(
                id=each.id,
                email=each.email,
                user_id=each.user_id,
                status=each.status,
                status_reason=each.status_reason,
                pending_since=shown_time_or_none(each.pending_since),
            )
            for each in found
        ],
        after=found[-1].email if len(found) == limit else None,
    )


@router.get("/{account_id}/profiles/{profile_id}", responses=REFUSALS)
async def show_profile(desk: TheDesk, account: TheAccount, profile_id: int) -> ShownProfile:
    """One person: traits with their times, what their properties should be and why, and what ProsperStack has."""
    looked, projection = await desk.database.read(_look, account, profile_id)
    profile = looked.profile
    return ShownProfile(
        id=profile.id,
        email=profile.email,
        user_id=profile.user_id,
        anonymous_id=profile.anonymous_id,
        status=profile.status,
        status_reason=profile.status_reason,
        pending_since=shown_time_or_none(profile.pending_since),
        version=profile.version,
        attempts=profile.attempts,
        looked_up_at=shown_time_or_none(profile.looked_up_at),
        traits={name: ShownValue(value=value, at=shown_time(at)) for name, (value, at) in profile.traits.items()},
        desired=_desired(projection),
        subscribers=[
            ShownSubscriber(
                id=each.id,
                observed=dict(each.observed),
                applied=dict(each.applied),
                set_aside={key: reason for key, (_, reason) in each.set_aside.items()},
            )
            for each in looked.subscribers
        ],
        problems=[ShownProblem(**fields) for fields in _problems(projection)],
    )


def _look(connection: Connection, account: Account, profile_id: int) -> tuple[Looked, Projection]:
    looked = browsing.look(connection, account.id, profile_id)
    if looked is None:
        raise NotHere(f"The account has no profile {profile_id}.")
    return looked, of_account(connection, account).plan.project(person_of(looked.profile))


def _desired(projection: Projection) -> dict[str, ShownDesired]:
    theirs = {SUBSCRIPTION + key: each for key, each in projection.subscription.items()}
    return {
        key: ShownDesired(value=each.value, trait=each.trait, matched_by=each.matched_by)
        for key, each in {**projection.desired, **theirs}.items()
    }


def _problems(projection: Projection) -> list[dict[str, Any]]:
    return [
        {"property": each.property, "trait": each.trait, "value": each.value, "reason": each.reason}
        for each in projection.problems
    ]
