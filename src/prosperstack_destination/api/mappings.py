"""The mapping of an account: shown, checked, previewed, applied, taken back."""

from datetime import datetime
from typing import Annotated, Any, Self

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field, JsonValue, model_validator

from prosperstack_destination.account_mapping import ApplyResult
from prosperstack_destination.admin import mapping as operations
from prosperstack_destination.admin.mapping_trial import run_trial
from prosperstack_destination.api.dependencies import (
    AccountDep,
    Operator,
    Services,
    to_datetime,
    to_datetime_or_none,
)
from prosperstack_destination.api.errors import (
    ApiRoute,
    ErrorResponse,
    FaultResponse,
    RequestBody,
    to_fault_response,
)
from prosperstack_destination.errors import NotFoundError
from prosperstack_destination.mapping.coercion import PropertyValue
from prosperstack_destination.mapping.mapping_file import json_schema
from prosperstack_destination.mapping.rules import dump_rules, load_rules
from prosperstack_destination.storable import MAX_INT32
from prosperstack_destination.store import mappings, remap_progress
from prosperstack_destination.store.json_codec import load
from prosperstack_destination.store.mappings import MappingVersion
from prosperstack_destination.store.remap_progress import RemapProgress

router = APIRouter(prefix="/api/accounts/{account_id}/mapping", tags=["mapping"], route_class=ApiRoute)
schema_router = APIRouter(tags=["mapping"])


class MappingVersionResponse(BaseModel):
    """A mapping that was applied; version 0 stands for none."""

    version: int
    author: str
    applied_at: datetime | None
    note: str
    rules: int = Field(description="How many rules it has.")


class MappingResponse(MappingVersionResponse):
    """A mapping with all that is in it."""

    mapping: dict[str, Any] = Field(description="As data, in the form of the mapping file.")
    yaml: str = Field(description="The file that was applied, with its comments; else one made of the data.")


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
        """The one of the two that was sent."""
        return self.yaml if self.yaml is not None else self.mapping or {}


class ApplyMappingRequest(MappingRequest):
    """A mapping to be applied."""

    based_on: int = Field(
        ge=0, le=MAX_INT32, description="The version that it was made from; 0 where there was none."
    )
    allow_unknown: bool = Field(False, description="Take rules for properties that the account does not have yet.")
    allow_problems: bool = Field(False, description="Apply it also where its preview has more problems than now.")
    note: str = Field("", max_length=200, description="What it is for.")


class TrialRequest(MappingRequest):
    """A mapping to be tried on one person."""

    email: str = Field(
        "",
        max_length=500,
        description="The person's, or how it begins; empty: somebody whom it changes, where one is found quickly.",
    )


class PropertyTrial(BaseModel):
    """One property of somebody, as it is to be now, and under the mapping that is tried."""

    property: str
    differs: bool
    before: PropertyValue | None = Field(description="Null: it is deleted, or nothing feeds it.")
    before_problem: str | None = Field(description="Why what feeds it cannot.")
    after: PropertyValue | None
    after_problem: str | None


class TrialResponse(BaseModel):
    """What a mapping makes of one person."""

    email: str
    properties: list[PropertyTrial] = Field(description="Those that are fed, before or after.")
    context: dict[str, JsonValue] = Field(description="What expressions see of the person.")


class RollbackRequest(RequestBody):
    """Which version to put in force again."""

    version: int = Field(ge=0, le=MAX_INT32)
    based_on: int = Field(ge=0, le=MAX_INT32, description="The version that is in force, as far as you know.")


class ApplyResponse(BaseModel):
    """What came of applying."""

    version: int
    changed: bool = Field(description="Whether the rules are others than before.")
    profiles: int = Field(description="How many profiles are gone through in the background.")


class ValidationResponse(BaseModel):
    """What is to be said of a mapping that has no faults."""

    rules: int
    unknown: list[FaultResponse] = Field(description="Rules for properties that the account does not have.")


class ExampleResponse(BaseModel):
    """One person who would change."""

    email: str
    before: dict[str, PropertyValue]
    after: dict[str, PropertyValue] = Field(
        description="Null deletes. What is in `before` alone gets nothing from the rules: it stays as it is."
    )


class PreviewResponse(BaseModel):
    """What would come of a mapping."""

    profiles: int
    exact: bool = Field(description="Whether all profiles were looked at; if not, the figures are scaled up.")
    changed: int
    by_property: dict[str, int]
    examples: list[ExampleResponse]
    problems_before: int
    problems_after: int
    requests: int = Field(description="How many requests it would cost ProsperStack.")
    requests_per_minute: float
    seconds: float = Field(description="How long that takes.")
    unknown: list[FaultResponse]


class RemapProgressResponse(BaseModel):
    """How far going through the profiles has come since the last change."""

    total: int
    done: int
    changed: int
    started_at: datetime | None
    finished_at: datetime | None


@schema_router.get("/api/mapping.schema.json")
async def mapping_schema() -> dict[str, Any]:
    """The JSON Schema of mapping files, for editors. It needs no token."""
    return json_schema()


@router.get("")
async def show_mapping(
    services: Services, account: AccountDep, version: Annotated[int | None, Query(ge=0, le=MAX_INT32)] = None
) -> MappingResponse:
    """The mapping in force, or an earlier one."""
    return _whole(await services.database.read(operations.of_version, account, version))


@router.put("", responses={409: {"model": ErrorResponse}})
async def apply_mapping(
    services: Services, account: AccountDep, operator: Operator, proposed: ApplyMappingRequest
) -> ApplyResponse:
    """Put a mapping in force, for every profile already received as well.

    Refused with 409 where another version than `based_on` is in force, or where by its preview problems rise and
    `allow_problems` is not set; and with 422 where it has faults.
    """
    applied = await operations.apply(
        services,
        account,
        await operations.parse(services, account, proposed.content),
        author=operator,
        based_on=proposed.based_on,
        source=proposed.yaml,
        note=proposed.note,
        allow_unknown=proposed.allow_unknown,
        allow_problems=proposed.allow_problems,
    )
    return _outcome(applied)


@router.post("/check")
async def check(services: Services, account: AccountDep, proposed: MappingRequest) -> ValidationResponse:
    """Look for faults in a mapping, and apply nothing."""
    read = await operations.parse(services, account, proposed.content)
    return ValidationResponse(rules=len(read.rules), unknown=[to_fault_response(each) for each in read.unknown])


@router.post("/preview")
async def preview_mapping(
    services: Services, account: AccountDep, proposed: MappingRequest, exact: bool = False
) -> PreviewResponse:
    """What a mapping would change for the profiles that are stored, and what it would cost; nothing is applied.

    Of more than 50,000 profiles a part is looked at, unless it is to be exact.
    """
    read = await operations.parse(services, account, proposed.content)
    found = await operations.preview_for_account(services, account, read.rules, exact=exact)
    return PreviewResponse(
        profiles=found.profiles,
        exact=found.exact,
        changed=found.changed,
        by_property=found.by_property,
        examples=[
            ExampleResponse(email=each.email, before=each.before, after=each.after) for each in found.examples
        ],
        problems_before=found.problems_before,
        problems_after=found.problems_after,
        requests=found.requests,
        requests_per_minute=found.requests_per_minute,
        seconds=found.seconds,
        unknown=[to_fault_response(each) for each in read.unknown],
    )


@router.post("/try")
async def try_mapping(services: Services, account: AccountDep, proposed: TrialRequest) -> TrialResponse:
    """What a mapping makes of one person, beside what the one in force makes of them; nothing is applied."""
    read = await operations.parse(services, account, proposed.content)
    found = await services.database.read(run_trial, account, read.rules, proposed.email)
    if found is None:
        raise NotFoundError("There is nobody with such an email.")
    return TrialResponse(
        email=found.email,
        properties=[
            PropertyTrial(
                property=each.key,
                differs=each.differs,
                before=None if each.before.desired is None else each.before.desired.value,
                before_problem=each.before.problem,
                after=None if each.after.desired is None else each.after.desired.value,
                after_problem=each.after.problem,
            )
            for each in found.changes
            if each.is_fed
        ],
        context=dict(found.context),
    )


@router.get("/history")
async def history(
    services: Services, account: AccountDep, limit: Annotated[int, Query(ge=1, le=500)] = 50
) -> list[MappingVersionResponse]:
    """What was applied, the newest first."""
    found = await services.database.read(mappings.history, account.id, limit)
    return [MappingVersionResponse(**_version(each)) for each in found]


@router.post("/rollback", responses={409: {"model": ErrorResponse}})
async def roll_back(
    services: Services, account: AccountDep, operator: Operator, to: RollbackRequest
) -> ApplyResponse:
    """Put an earlier version in force again, as a new one."""
    applied = await operations.rollback(services, account, to.version, author=operator, based_on=to.based_on)
    return _outcome(applied)


@router.get("/progress")
async def progress(services: Services, account: AccountDep) -> RemapProgressResponse:
    """How many profiles were gone through since what their traits mean has changed."""
    found = await services.database.read(remap_progress.of_account, account.id)
    if found is None:
        return RemapProgressResponse(total=0, done=0, changed=0, started_at=None, finished_at=None)
    return to_progress_response(found)


def to_progress_response(found: RemapProgress) -> RemapProgressResponse:
    """How far one has come, as it is shown."""
    return RemapProgressResponse(
        total=found.total,
        done=found.done,
        changed=found.changed,
        started_at=to_datetime(found.started_at),
        finished_at=to_datetime_or_none(found.finished_at),
    )


def _outcome(applied: ApplyResult) -> ApplyResponse:
    return ApplyResponse(version=applied.mapping.version, changed=applied.changed, profiles=applied.profiles)


def _version(mapping: MappingVersion) -> dict[str, Any]:
    return {
        "version": mapping.version,
        "author": mapping.author,
        "applied_at": to_datetime(mapping.applied_at) if mapping.version else None,
        "note": mapping.note,
        "rules": len(load_rules(mapping.rules)),
    }


def _whole(mapping: MappingVersion) -> MappingResponse:
    rules = load_rules(mapping.rules)
    return MappingResponse(**_version(mapping), mapping=load(dump_rules(rules)), yaml=operations.text_of(mapping))
