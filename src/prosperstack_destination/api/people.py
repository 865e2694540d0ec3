"""The people of an account: found, and shown with all that is known of them."""

from datetime import datetime
from typing import Annotated, Self

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field, JsonValue, model_validator
from sqlalchemy import Connection

from prosperstack_destination.admin import actions, people
from prosperstack_destination.admin.comparison import PropertyComparison, PropertyState
from prosperstack_destination.admin.people import NextStep, PersonView
from prosperstack_destination.admin.services import AdminServices
from prosperstack_destination.api.dependencies import (
    AccountDep,
    Operator,
    ProfileId,
    Services,
    to_datetime,
    to_datetime_or_none,
)
from prosperstack_destination.api.errors import ApiRoute, RequestBody
from prosperstack_destination.emails import normalize_email
from prosperstack_destination.mapping.catalog import PropertyType
from prosperstack_destination.mapping.coercion import PropertyValue
from prosperstack_destination.mapping.projection import MatchedBy
from prosperstack_destination.store import profile_queries
from prosperstack_destination.store.accounts import Account, OnDelete
from prosperstack_destination.store.erasure import Erased
from prosperstack_destination.store.models import IdKind, SourceKind, Status

router = APIRouter(prefix="/api/accounts/{account_id}", tags=["profiles"], route_class=ApiRoute)

#: The most profiles in one answer.
PAGE = 200


class ProfileSummaryResponse(BaseModel):
    """One person in a list."""

    id: int
    email: str
    user_id: str | None
    status: Status
    status_reason: str | None
    pending_since: datetime | None


class ProfilePageResponse(BaseModel):
    """A page of people; `after` asks for the next one, null ends the list."""

    profiles: list[ProfileSummaryResponse]
    after: str | None


class TraitResponse(BaseModel):
    """What Segment says of a person under one name."""

    name: str
    value: JsonValue
    at: datetime = Field(description="Its event time.")
    computed: SourceKind | None = Field(description="Whether it is an audience or a computed trait of Engage's.")


class ExternalIdResponse(BaseModel):
    """An id that came with the person's email."""

    kind: IdKind
    id: str
    at: datetime = Field(description="When it came with the email last.")


class DesiredValueResponse(BaseModel):
    """What a property should be, and why."""

    value: PropertyValue = Field(description="Null deletes the property's value.")
    trait: str = Field(description="The trait that feeds it, or the expression.")
    matched_by: MatchedBy


class PropertyRowResponse(BaseModel):
    """One property of one subscriber."""

    property: str = Field(description="Its key; `subscription.` stands before those of subscriptions.")
    name: str
    type: PropertyType
    desired: DesiredValueResponse | None = Field(
        description="Null: no trait gives it a value, and it stays as it is."
    )
    observed: JsonValue = Field(description="What ProsperStack showed last; of subscriptions it is not kept.")
    applied: JsonValue = Field(description="What was settled last.")
    state: PropertyState
    reason: str | None = Field(description="What stands in the way.")


class SubscriberResponse(BaseModel):
    """One subscriber with the person's email."""

    id: str | None = Field(description="ProsperStack's id; null: nobody is known to have the email.")
    observed_at: datetime | None
    properties: list[PropertyRowResponse]


class PersonProblemResponse(BaseModel):
    """A trait that feeds a property and cannot, or a value that ProsperStack rejected."""

    property: str
    trait: str
    value: JsonValue
    reason: str
    since: datetime


class ProfileResponse(ProfileSummaryResponse):
    """All that is known of a person."""

    anonymous_id: str | None
    in_words: str = Field(description="How the person stands, and why.")
    version: int
    lane: str = Field(description="How urgent it is: `cancelling`, `live` or `bulk`.")
    attempts: int = Field(description="How many attempts in a row came to nothing.")
    next_attempt_at: datetime | None = Field(description="Until then the person is left alone.")
    next_step: NextStep = Field(description="What is done when it is their turn.")
    looked_up_at: datetime | None
    ids: list[ExternalIdResponse]
    traits: list[TraitResponse]
    subscribers: list[SubscriberResponse] = Field(description="One without an id where no subscriber is known.")
    problems: list[PersonProblemResponse] = Field(description="Under the mapping in force.")


class ErasePersonRequest(RequestBody):
    """Whom to forget: by one of the two."""

    email: str | None = Field(None, min_length=1, max_length=500)
    user_id: str | None = Field(None, min_length=1, max_length=1_000, description="Everybody who ever had it.")

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.email is None) is (self.user_id is None):
            raise ValueError("send either email or user_id")
        return self


class ErasureResponse(BaseModel):
    """What an erasure came to."""

    profiles: int
    subscribers: int = Field(description="Subscribers of ProsperStack's that this service had written to.")
    in_prosperstack: OnDelete = Field(description="What is done with them there.")


@router.get("/profiles")
async def list_profiles(
    services: Services,
    account: AccountDep,
    email: Annotated[str, Query(max_length=500, description="How the email begins.")] = "",
    user_id: Annotated[str | None, Query(max_length=1000, description="The userId.")] = None,
    status: Status | None = None,
    after: Annotated[str, Query(max_length=500, description="As the page before named it.")] = "",
    limit: Annotated[int, Query(ge=1, le=PAGE)] = 50,
) -> ProfilePageResponse:
    """People in the order of their emails. With a status a page may have few, or nobody, and more to come."""
    prefix = normalize_email(email)
    if user_id is not None:
        known = await services.database.read(profile_queries.emails_of_user, account.id, user_id)
        if not known or not known[0].startswith(prefix):
            return ProfilePageResponse(profiles=[], after=None)
        prefix = known[0]
    statuses = () if status is None else (status,)
    found = await services.database.read(
        profile_queries.listed, account.id, after=after, limit=limit, prefix=prefix, statuses=statuses
    )
    people = found.profiles
    if user_id is not None:
        people = tuple(each for each in people if each.email == prefix)
    return ProfilePageResponse(
        profiles=[
            ProfileSummaryResponse(
                id=each.id,
                email=each.email,
                user_id=each.user_id,
                status=each.status,
                status_reason=each.status_reason,
                pending_since=to_datetime_or_none(each.pending_since),
            )
            for each in people
        ],
        after=found.after,
    )


@router.get("/profiles/{profile_id}")
async def show_profile(services: Services, account: AccountDep, profile_id: ProfileId) -> ProfileResponse:
    """One person: traits with their times, ids, and each property as desired, observed and applied."""
    return _profile_response(await services.database.read(people.by_id, account, profile_id, services.clock()))


@router.post("/profiles/{profile_id}/sync", status_code=204)
async def sync_now(services: Services, account: AccountDep, operator: Operator, profile_id: ProfileId) -> None:
    """Bring a person to the front: before everybody else they are looked up anew, and sent what differs."""
    await services.database.write(actions.prioritize, account, profile_id, operator, services.clock())
    services.wake([account.id])


@router.post("/profiles/{profile_id}/retry", status_code=204)
async def retry_person(services: Services, account: AccountDep, operator: Operator, profile_id: ProfileId) -> None:
    """Look at a person now, and send once more what ProsperStack rejected of theirs."""
    await services.database.write(actions.retry_person, account, profile_id, operator, services.clock())
    services.wake([account.id])


@router.delete("/profiles/{profile_id}")
async def erase_profile(
    services: Services, account: AccountDep, operator: Operator, profile_id: ProfileId
) -> ErasureResponse:
    """Forget a person, here and in ProsperStack, as a Delete call does. It cannot be undone."""
    return _erasure_response(
        services,
        account,
        await services.database.write(
            actions.erase_profile, account, profile_id, services.vault.pseudonym, operator, services.clock()
        ),
    )


@router.post("/erase")
async def erase(
    services: Services, account: AccountDep, operator: Operator, whom: ErasePersonRequest
) -> ErasureResponse:
    """The same by email or by user id, also for whoever is not known: older calls do not bring them back."""

    def work(connection: Connection) -> Erased:
        pseudonym, now = services.vault.pseudonym, services.clock()
        if whom.user_id is not None:
            return actions.erase_user(connection, account, whom.user_id, pseudonym, operator, now)
        return actions.erase(connection, account, whom.email or "", pseudonym, operator, now)

    return _erasure_response(services, account, await services.database.write(work))


def _profile_response(person: PersonView) -> ProfileResponse:
    profile = person.profile
    return ProfileResponse(
        id=profile.id,
        email=profile.email,
        user_id=profile.user_id,
        anonymous_id=profile.anonymous_id,
        status=profile.status,
        status_reason=profile.status_reason,
        in_words=person.in_words,
        pending_since=to_datetime_or_none(profile.pending_since),
        version=profile.version,
        lane=profile.lane.name.lower(),
        attempts=profile.attempts,
        next_attempt_at=to_datetime_or_none(person.next_attempt_at),
        next_step=person.next_step,
        looked_up_at=to_datetime_or_none(profile.looked_up_at),
        ids=[ExternalIdResponse(kind=each.kind, id=each.id, at=to_datetime(each.at)) for each in person.ids],
        traits=[
            TraitResponse(
                name=each.name,
                value=each.value,
                at=to_datetime(each.at),
                computed=None if each.source is None else each.source.kind,
            )
            for each in person.traits
        ],
        subscribers=[
            SubscriberResponse(
                id=each.subscriber_id,
                observed_at=to_datetime_or_none(each.observed_at),
                properties=[_row_response(row) for row in each.rows],
            )
            for each in person.sides
        ],
        problems=[
            PersonProblemResponse(
                property=each.property,
                trait=each.trait,
                value=each.value,
                reason=each.reason,
                since=to_datetime(each.since),
            )
            for each in person.problems
        ],
    )


def _row_response(row: PropertyComparison) -> PropertyRowResponse:
    desired = row.desired
    return PropertyRowResponse(
        property=row.key,
        name=row.target.name,
        type=row.target.type,
        desired=None
        if desired is None
        else DesiredValueResponse(value=desired.value, trait=desired.trait, matched_by=desired.matched_by),
        observed=row.observed,
        applied=row.applied,
        state=row.state,
        reason=row.reason,
    )


def _erasure_response(services: AdminServices, account: Account, erased: Erased) -> ErasureResponse:
    services.wake([account.id])
    return ErasureResponse(
        profiles=erased.profiles, subscribers=erased.subscribers, in_prosperstack=erased.in_prosperstack
    )
