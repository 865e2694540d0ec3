"""Mapping of an account: show, check, preview, try, apply, roll back; coverage of properties and traits."""

from collections.abc import Iterable
from typing import Annotated, Any, Self

from fastapi import APIRouter, Query
from pydantic import AliasPath, BeforeValidator, Field, JsonValue, model_validator

from prosperstack_destination.admin import mapping as operations
from prosperstack_destination.admin.mapping import run_trial
from prosperstack_destination.admin.overview import total_of_day
from prosperstack_destination.api.models import RequestBody, ResponseBody, Timestamp
from prosperstack_destination.api.route import (
    AccountDep,
    ApiRoute,
    ErrorResponse,
    FaultResponse,
    Operator,
    Services,
    to_fault_response,
)
from prosperstack_destination.errors import NotFoundError
from prosperstack_destination.mapping.coercion import PropertyValue
from prosperstack_destination.mapping.mapping_file import json_schema
from prosperstack_destination.storable_text import MAX_INT32

router = APIRouter(prefix="/api/accounts/{account_id}/mapping", tags=["mapping"], route_class=ApiRoute)
schema_router = APIRouter(tags=["mapping"])


class MappingVersionResponse(ResponseBody):
    """A mapping version; version 0 means none."""

    version: int
    author: str
    applied_at: Timestamp | None
    note: str
    rules: int = Field(description="Number of rules.")


class MappingResponse(MappingVersionResponse):
    """A mapping version with its content."""

    mapping: dict[str, Any] = Field(description="Content as data, in the form of the mapping file.")
    yaml: str = Field(description="Text of the applied file, with its comments; else text made from the data.")


class MappingRequest(RequestBody):
    """A mapping, as data or as the text of a file: one of the two."""

    mapping: dict[str, JsonValue] | None = Field(None, description="In the form of /api/mapping.schema.json.")
    yaml: str | None = Field(None, description="The text of a mapping file.")

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.mapping is None) == (self.yaml is None):
            raise ValueError("send either mapping or yaml")
        return self

    @property
    def content(self) -> operations.Proposed:
        """The mapping that was sent, in either form."""
        return self.yaml if self.yaml is not None else self.mapping or {}


class ApplyMappingRequest(MappingRequest):
    """A mapping to apply."""

    based_on: int = Field(ge=0, le=MAX_INT32, description="Version that it was made from; 0 if there was none.")
    allow_unknown: bool = Field(
        False, description="Accept rules for properties that the account does not have yet."
    )
    allow_problems: bool = Field(False, description="Apply it although its preview has more problems than now.")
    note: str = Field("", max_length=200, description="Purpose of the change.")


class TrialRequest(MappingRequest):
    """A mapping to try on one person."""

    email: str = Field(
        "",
        max_length=500,
        description="The person's email or its prefix; empty: a person that it changes, if one is found quickly.",
    )


class PropertyTrialResponse(ResponseBody):
    """One property of a person, under the current mapping and under the proposed one."""

    property: str = Field(validation_alias="key")
    differs: bool
    before: PropertyValue | None = Field(
        validation_alias=AliasPath("before", "value"), description="Null: deleted, or no trait feeds it."
    )
    before_problem: str | None = Field(
        validation_alias=AliasPath("before", "problem"), description="Reason why the trait cannot be converted."
    )
    after: PropertyValue | None = Field(validation_alias=AliasPath("after", "value"))
    after_problem: str | None = Field(validation_alias=AliasPath("after", "problem"))


class TrialResponse(ResponseBody):
    """Result of a mapping for one person."""

    email: str
    properties: list[PropertyTrialResponse] = Field(description="Properties fed by a trait, before or after.")
    context: dict[str, JsonValue] = Field(description="Data that expressions see of the person.")


class RollbackRequest(RequestBody):
    """Version to apply again."""

    version: int = Field(ge=0, le=MAX_INT32)
    based_on: int = Field(ge=0, le=MAX_INT32, description="Current version that the change is based on.")


class ApplyResponse(ResponseBody):
    """Result of applying a mapping."""

    version: int = Field(validation_alias=AliasPath("mapping", "version"))
    changed: bool = Field(description="Whether the rules changed.")
    profiles: int = Field(description="Profiles to remap in the background.")


class ValidationResponse(ResponseBody):
    """Result of checking a mapping without faults."""

    rules: int
    unknown: list[FaultResponse] = Field(description="Rules for properties that the account does not have.")


class ExampleResponse(ResponseBody):
    """One person that the mapping changes."""

    email: str
    before: dict[str, PropertyValue]
    after: dict[str, PropertyValue] = Field(
        description="Null deletes. A property that is only in `before` gets no value from the rules: it stays."
    )


class EffectResponse(ResponseBody):
    """Effect of a mapping on the stored profiles."""

    profiles: int
    exact: bool = Field(description="Whether all profiles were evaluated; if not, the figures are scaled up.")
    changed: int
    by_property: dict[str, int]
    examples: list[ExampleResponse]
    problems_before: int
    problems_after: int
    requests: int = Field(description="Requests to ProsperStack that it costs.")
    requests_per_minute: float
    seconds: float = Field(description="Time that the requests take.")


class PreviewResponse(EffectResponse):
    """Effect of a mapping on the stored profiles, and its rules for properties that the account does not have."""

    unknown: list[FaultResponse]


class RemapProgressResponse(ResponseBody):
    """Progress of the remap of all profiles since the latest change."""

    total: int
    done: int
    changed: int
    started_at: Timestamp | None
    finished_at: Timestamp | None


@schema_router.get("/api/mapping.schema.json")
async def mapping_schema() -> dict[str, Any]:
    """Return the JSON Schema of mapping files, for editors. No token is needed."""
    return json_schema()


@router.get("")
async def show_mapping(
    services: Services, account: AccountDep, version: Annotated[int | None, Query(ge=0, le=MAX_INT32)] = None
) -> MappingResponse:
    """Return the current mapping, or an earlier version."""
    stored = await services.database.read(operations.of_version, account, version)
    return MappingResponse.model_validate(operations.MappingView(stored))


@router.put("", responses={409: {"model": ErrorResponse}})
async def apply_mapping(
    services: Services, account: AccountDep, operator: Operator, body: ApplyMappingRequest
) -> ApplyResponse:
    """Apply a mapping, also to every stored profile.

    Refused with 409 if the current version is not `based_on`, or if its preview has more problems than now and
    `allow_problems` is false; with 422 if the mapping has faults.
    """
    applied = await operations.apply(
        services,
        account,
        await operations.parse(services, account, body.content),
        author=operator,
        based_on=body.based_on,
        source=body.yaml,
        note=body.note,
        allow_unknown=body.allow_unknown,
        allow_problems=body.allow_problems,
    )
    return ApplyResponse.model_validate(applied)


@router.post("/check")
async def check(services: Services, account: AccountDep, body: MappingRequest) -> ValidationResponse:
    """Check a mapping for faults, and apply nothing."""
    parsed = await operations.parse(services, account, body.content)
    return ValidationResponse(rules=len(parsed.rules), unknown=[to_fault_response(each) for each in parsed.unknown])


@router.post("/preview")
async def preview_mapping(
    services: Services, account: AccountDep, body: MappingRequest, exact: bool = False
) -> PreviewResponse:
    """Return the effect of a mapping on the stored profiles, and its cost; nothing is applied.

    Above 50,000 profiles a sample is evaluated, unless `exact`.
    """
    parsed = await operations.parse(services, account, body.content)
    result = await operations.preview_for_account(services, account, parsed.rules, exact=exact)
    unknown = [to_fault_response(each) for each in parsed.unknown]
    return PreviewResponse(**EffectResponse.model_validate(result).model_dump(), unknown=unknown)


@router.post("/try")
async def try_mapping(services: Services, account: AccountDep, body: TrialRequest) -> TrialResponse:
    """Return the effect of a mapping on one person, next to the current mapping's; nothing is applied."""
    parsed = await operations.parse(services, account, body.content)
    trial = await services.database.read(run_trial, account, parsed.rules, body.email, services.clock())
    if trial is None:
        raise NotFoundError("No profile with this email.")
    return TrialResponse(
        email=trial.email,
        properties=[PropertyTrialResponse.model_validate(each) for each in trial.changes if each.is_fed],
        context=dict(trial.context),
    )


@router.get("/history")
async def history(
    services: Services, account: AccountDep, limit: Annotated[int, Query(ge=1, le=500)] = 50
) -> list[MappingVersionResponse]:
    """List the applied versions, newest first."""
    found = await services.database.read(operations.history, account, limit)
    return [MappingVersionResponse.model_validate(each) for each in found]


@router.post("/rollback", responses={409: {"model": ErrorResponse}})
async def roll_back(
    services: Services, account: AccountDep, operator: Operator, body: RollbackRequest
) -> ApplyResponse:
    """Apply an earlier version again, as a new version."""
    applied = await operations.rollback(services, account, body.version, author=operator, based_on=body.based_on)
    return ApplyResponse.model_validate(applied)


@router.get("/progress")
async def progress(services: Services, account: AccountDep) -> RemapProgressResponse:
    """Return the progress of the remap since the mapping or the catalog last changed."""
    found = await services.database.read(operations.remap_of, account)
    if found is None:
        return RemapProgressResponse(total=0, done=0, changed=0, started_at=None, finished_at=None)
    return RemapProgressResponse.model_validate(found)


coverage_router = APIRouter(prefix="/api/accounts/{account_id}/coverage", tags=["mapping"], route_class=ApiRoute)


def _causes(pairs: Iterable[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"trait": trait, "matched_by": matched_by} for trait, matched_by in pairs]


class PropertyCoverageResponse(ResponseBody):
    """Coverage of a property."""

    property: str
    name: str
    type: str
    fed_by: Annotated[list[dict[str, str]], BeforeValidator(_causes)] = Field(
        description="`trait` (or expression) and `matched_by`, by frequency."
    )
    ignored: bool
    filled: int = Field(description="Profiles with a value for it.")
    problems: int
    sample: PropertyValue = Field(description="Newest value.")


class TraitCoverageResponse(ResponseBody):
    """Coverage of a trait."""

    trait: str
    seen: int = Field(description="Profiles with the trait.")
    feeds: list[str] = Field(description="Properties that it feeds.")
    likeliest: str | None = Field(description="If it feeds none: the property with the closest name.")
    alike: float = Field(description="Similarity of that name, of 100.")
    type: str | None = Field(description="Type of a property for it.")
    audience: bool
    sample: JsonValue


class LeftOutResponse(ResponseBody):
    """Calls that the mapping left out."""

    filtered: int = Field(description="Calls that the condition (accept) left out.")
    no_consent: int = Field(description="Calls without the consent that the mapping requires.")


class CoverageResponse(ResponseBody):
    """Coverage of an account."""

    profiles: int
    counted: int = Field(description="Profiles that were counted.")
    properties: list[PropertyCoverageResponse]
    traits: list[TraitCoverageResponse]
    left_out: LeftOutResponse = Field(description="Calls of the last 24 hours that the mapping left out.")


@coverage_router.get("", tags=["mapping"])
async def show_coverage(services: Services, account: AccountDep, exact: bool = False) -> CoverageResponse:
    """Return the coverage of properties and traits; above 50,000 profiles a sample is counted, unless `exact`."""
    found = await operations.coverage_for_account(services, account, exact=exact)
    day = await services.database.read(total_of_day, account.id, services.clock())
    shown = {name: getattr(found, name) for name in ("profiles", "counted", "properties", "traits")}
    return CoverageResponse.model_validate({**shown, "left_out": day})
