"""Profiles: list, show, sync, retry and erase."""

from typing import Annotated, Self

from fastapi import APIRouter, Query
from pydantic import AliasPath, Field, JsonValue, model_validator

from prosperstack_destination.admin import actions, people
from prosperstack_destination.admin.comparison import PropertyState
from prosperstack_destination.admin.people import NextStep, PersonView
from prosperstack_destination.api.models import RequestBody, ResponseBody, Timestamp, to_datetime
from prosperstack_destination.api.route import AccountDep, ApiRoute, Operator, ProfileId, Services
from prosperstack_destination.mapping.catalog import PropertyType
from prosperstack_destination.mapping.coercion import PropertyValue
from prosperstack_destination.mapping.projection import MatchedBy
from prosperstack_destination.store.accounts import OnDelete
from prosperstack_destination.store.models import IdKind, SourceKind, Status

router = APIRouter(prefix="/api/accounts/{account_id}", tags=["profiles"], route_class=ApiRoute)

#: Profiles in one response at most.
PAGE = 200


class ProfileSummaryResponse(ResponseBody):
    """One profile in a list."""

    id: int
    email: str
    user_id: str | None
    status: Status
    status_reason: str | None
    pending_since: Timestamp | None


class ProfilePageResponse(ResponseBody):
    """A page of profiles. Pass `after` to get the next page; null ends the list."""

    profiles: list[ProfileSummaryResponse]
    after: str | None


class TraitResponse(ResponseBody):
    """One trait of a profile."""

    name: str
    value: JsonValue
    at: Timestamp = Field(description="Event time.")
    computed: SourceKind | None = Field(description="Set if it is an audience or a computed trait of Engage.")


class ExternalIdResponse(ResponseBody):
    """An external ID that came with the profile's email."""

    kind: IdKind
    id: str
    at: Timestamp = Field(description="Event time of the latest call with both.")


class DesiredValueResponse(ResponseBody):
    """Desired value of a property, and its cause."""

    value: PropertyValue = Field(description="Null deletes the property's value.")
    trait: str = Field(description="Trait or expression that feeds it.")
    matched_by: MatchedBy


class PropertyRowResponse(ResponseBody):
    """One property of one subscriber."""

    property: str = Field(
        validation_alias="key", description="Key; those of subscription properties begin with `subscription.`."
    )
    name: str = Field(validation_alias=AliasPath("target", "name"))
    type: PropertyType = Field(validation_alias=AliasPath("target", "type"))
    desired: DesiredValueResponse | None = Field(
        description="Null: no trait gives it a value, and its value stays."
    )
    observed: JsonValue = Field(description="Value that ProsperStack returned last; not stored for subscriptions.")
    applied: JsonValue = Field(description="Value settled last.")
    state: PropertyState
    reason: str | None = Field(description="Obstacle to the desired value.")


class SubscriberResponse(ResponseBody):
    """One subscriber with the profile's email."""

    id: str | None = Field(
        validation_alias="subscriber_id",
        description="ProsperStack's ID; null: no subscriber with the email is known.",
    )
    observed_at: Timestamp | None
    properties: list[PropertyRowResponse] = Field(validation_alias="rows")


class PersonProblemResponse(ResponseBody):
    """A value that cannot be converted to its property's type, or that ProsperStack rejected."""

    property: str
    trait: str
    value: JsonValue
    reason: str
    since: Timestamp


class ProfileResponse(ProfileSummaryResponse):
    """A profile with all its data."""

    anonymous_id: str | None
    in_words: str = Field(description="Status in a sentence, with its reason.")
    version: int
    lane: str = Field(description="Lane of the profile: `cancelling`, `live` or `bulk`.")
    attempts: int = Field(description="Failed attempts in a row.")
    next_attempt_at: Timestamp | None = Field(description="Earliest next attempt.")
    next_step: NextStep = Field(description="Next action of the reconciler.")
    looked_up_at: Timestamp | None
    ids: list[ExternalIdResponse]
    traits: list[TraitResponse]
    subscribers: list[SubscriberResponse] = Field(description="One without an ID if no subscriber is known.")
    problems: list[PersonProblemResponse] = Field(description="Under the current mapping.")


class ErasePersonRequest(RequestBody):
    """Person to erase, by email or user ID."""

    email: str | None = Field(None, min_length=1, max_length=500)
    user_id: str | None = Field(
        None, min_length=1, max_length=1_000, description="Erases every profile that ever had this user ID."
    )

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.email is None) is (self.user_id is None):
            raise ValueError("send either email or user_id")
        return self


class ErasureResponse(ResponseBody):
    """Result of an erasure."""

    profiles: int
    subscribers: int = Field(description="Subscribers that this service wrote to.")
    in_prosperstack: OnDelete = Field(description="Effect on them in ProsperStack.")


@router.get("/profiles")
async def list_profiles(
    services: Services,
    account: AccountDep,
    email: Annotated[str, Query(max_length=500, description="Prefix of the email.")] = "",
    user_id: Annotated[str | None, Query(max_length=1000, description="The userId.")] = None,
    status: Status | None = None,
    after: Annotated[str, Query(max_length=500, description="`after` of the previous page.")] = "",
    limit: Annotated[int, Query(ge=1, le=PAGE)] = 50,
) -> ProfilePageResponse:
    """List profiles in the order of their emails.

    With a status, a page may have few profiles or none although more follow.
    """
    statuses = () if status is None else (status,)
    page = await services.database.read(
        people.list_people, account, prefix=email, user_id=user_id, statuses=statuses, after=after, limit=limit
    )
    return ProfilePageResponse.model_validate(page)


@router.get("/profiles/{profile_id}")
async def show_profile(services: Services, account: AccountDep, profile_id: ProfileId) -> ProfileResponse:
    """Return one profile: traits with their times, IDs, and desired, observed and applied properties."""
    return _profile_response(await services.database.read(people.by_id, account, profile_id, services.clock()))


@router.post("/profiles/{profile_id}/sync", status_code=204)
async def sync_now(services: Services, account: AccountDep, operator: Operator, profile_id: ProfileId) -> None:
    """Move a profile to the front: look it up and update it before all others."""
    await services.database.write(actions.prioritize, account, profile_id, operator, services.clock())
    services.wake([account.id])


@router.post("/profiles/{profile_id}/retry", status_code=204)
async def retry_person(services: Services, account: AccountDep, operator: Operator, profile_id: ProfileId) -> None:
    """Retry a profile now, with values that ProsperStack rejected."""
    await services.database.write(actions.retry_person, account, profile_id, operator, services.clock())
    services.wake([account.id])


@router.delete("/profiles/{profile_id}")
async def erase_profile(
    services: Services, account: AccountDep, operator: Operator, profile_id: ProfileId
) -> ErasureResponse:
    """Erase a person here and in ProsperStack, as a Delete call does. It cannot be undone."""
    erased = await services.database.write(
        actions.erase_profile, account, profile_id, services.vault.pseudonym, operator, services.clock()
    )
    services.wake([account.id])
    return ErasureResponse.model_validate(erased)


@router.post("/erase")
async def erase(
    services: Services, account: AccountDep, operator: Operator, body: ErasePersonRequest
) -> ErasureResponse:
    """Erase a person by email or user ID, also an unknown one: older calls do not bring the person back."""
    erase_person = actions.erase if body.user_id is None else actions.erase_user
    erased = await services.database.write(
        erase_person,
        account,
        body.user_id or body.email or "",
        services.vault.pseudonym,
        operator,
        services.clock(),
    )
    services.wake([account.id])
    return ErasureResponse.model_validate(erased)


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
        pending_since=to_datetime(profile.pending_since),
        version=profile.version,
        lane=profile.lane.name.lower(),
        attempts=profile.attempts,
        next_attempt_at=to_datetime(person.next_attempt_at),
        next_step=person.next_step,
        looked_up_at=to_datetime(profile.looked_up_at),
        ids=[ExternalIdResponse.model_validate(each) for each in person.ids],
        traits=[TraitResponse.model_validate(each) for each in person.traits],
        subscribers=[SubscriberResponse.model_validate(each) for each in person.subscribers],
        problems=[PersonProblemResponse.model_validate(each) for each in person.problems],
    )
