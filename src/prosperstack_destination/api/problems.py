"""Mapping problems, rejections and failures, with retry and replay."""

from typing import Annotated, Self

from fastapi import APIRouter, Query, Response
from pydantic import AliasPath, Field, JsonValue, model_validator

from prosperstack_destination.admin import actions, problems
from prosperstack_destination.api.models import RequestBody, ResponseBody, Timestamp, to_datetime
from prosperstack_destination.api.route import AccountDep, ApiRoute, Operator, Services

router = APIRouter(prefix="/api/accounts/{account_id}", tags=["problems"], route_class=ApiRoute)


class ProblemSampleResponse(ResponseBody):
    """One profile with a problem."""

    profile_id: int
    email: str
    trait: str
    value: JsonValue


class SuggestionResponse(ResponseBody):
    """A rule that leaves fewer problems with the property, tried on stored people."""

    rule: dict[str, JsonValue] = Field(description="Rule to add to the current mapping.")
    yaml: str = Field(description="The rule as a mapping file of its own.")
    looked_at: int = Field(description="Profiles on which it was tried.")
    problems_before: int
    problems_after: int


class ProblemGroupResponse(ResponseBody):
    """Problems of one property with the same reason."""

    property: str
    reason: str
    advice: str = Field(description="Advice in one or two sentences.")
    suggestion: SuggestionResponse | None = Field(
        description="A rule that helps; null: none is known, or the problem is not among the ten most frequent."
    )
    set_aside: bool = Field(
        description="Whether ProsperStack rejected the values; they are not sent again until they change."
    )
    count: int = Field(description="Number of people with the problem.")
    since: Timestamp
    samples: list[ProblemSampleResponse]


class FailedPersonResponse(ResponseBody):
    """A person whose latest attempt failed, or whose email ProsperStack rejected."""

    profile_id: int = Field(validation_alias="id")
    email: str
    reason: str | None = Field(validation_alias="status_reason")
    next_attempt_at: Timestamp | None = Field(
        validation_alias="due_at", description="Null: at the person's next call, or by a retry."
    )


class FailedErasureResponse(ResponseBody):
    """A subscriber of an erased person whose values could not be deleted in ProsperStack."""

    subscriber_id: str = Field(validation_alias=AliasPath("erasure", "subscriber_id"))
    delete_subscriber: bool = Field(
        validation_alias=AliasPath("erasure", "delete_subscriber"),
        description="Whether the whole subscriber is deleted.",
    )
    reason: str | None = Field(validation_alias=AliasPath("erasure", "reason"))
    attempts: int = Field(
        validation_alias=AliasPath("erasure", "attempts"), description="Failed attempts in a row."
    )
    next_attempt_at: Timestamp = Field(validation_alias="due_at")


class FailureListResponse(ResponseBody):
    """Failures that are retried, and rejected emails; each list up to the limit of the request."""

    waiting: list[FailedPersonResponse] = Field(description="People who wait after a failed attempt.")
    set_aside: list[FailedPersonResponse] = Field(
        validation_alias=AliasPath("rejected", "profiles"), description="People whose email ProsperStack rejected."
    )
    clearings: list[FailedErasureResponse] = Field(validation_alias="erasures")


class RetryRequest(RequestBody):
    """Problem to retry, as listed by `problems`; without both fields: all problems and failures."""

    property: str | None = Field(None, max_length=500)
    reason: str | None = Field(None, max_length=5_000)

    @model_validator(mode="after")
    def _both_or_neither(self) -> Self:
        if (self.property is None) is not (self.reason is None):
            raise ValueError("send both property and reason, or neither")
        return self


class QueuedResponse(ResponseBody):
    """Number of people queued."""

    profiles: int


class ReplayCostResponse(ResponseBody):
    """Upper bound of the cost of a replay; known subscribers without a difference cost no request."""

    profiles: int
    most_requests: int
    most_seconds: float


class ReplayProgressResponse(ResponseBody):
    """Progress of a replay of all people. It makes people due; they are then compared as requests allow."""

    began_at: Timestamp
    total: int = Field(description="People of the account at the start.")
    done: int = Field(description="People made due so far.")
    finished_at: Timestamp | None = Field(description="Null: it is running.")
    failed: str | None = Field(description="Reason of an early end; the replay may be started again.")


class ReplayResponse(ReplayCostResponse):
    """Cost of a replay, and progress of the latest replay of all people."""

    latest: ReplayProgressResponse | None = Field(description="Null: none since this process started.")


class ReplayRequest(RequestBody):
    """Person to compare with ProsperStack again."""

    profile_id: int | None = Field(None, ge=1, lt=2**63, description="Null: all people.")


@router.get("/problems")
async def show_problems(
    services: Services, account: AccountDep, limit: Annotated[int, Query(ge=1, le=500)] = 100
) -> list[ProblemGroupResponse]:
    """List problems by property and reason, most frequent first; a solved problem disappears."""
    found = await services.database.read(problems.with_suggestions, account, services.clock(), limit)
    return [
        ProblemGroupResponse(
            property=each.property,
            reason=each.reason,
            advice=problems.advice(each.reason),
            suggestion=None if suggestion is None else SuggestionResponse.model_validate(suggestion),
            set_aside=each.is_rejected,
            count=each.count,
            since=to_datetime(each.since),
            samples=[ProblemSampleResponse.model_validate(one) for one in each.samples],
        )
        for each, suggestion in found
    ]


@router.post("/problems/retry")
async def retry_problems(
    services: Services, account: AccountDep, operator: Operator, body: RetryRequest
) -> QueuedResponse:
    """Retry the people with a problem, with values that ProsperStack rejected."""
    key, reason, now = body.property, body.reason, services.clock()
    if key is None or reason is None:
        count = await actions.retry_all(services.database, account, operator, now)
    else:
        count = await actions.retry_group(services.database, account, key, reason, operator, now)
    services.wake([account.id])
    return QueuedResponse(profiles=count)


@router.get("/failures")
async def show_failures(
    services: Services, account: AccountDep, limit: Annotated[int, Query(ge=1, le=200)] = 20
) -> FailureListResponse:
    """List the people who wait after a failed attempt, and rejected emails, with reason and next attempt."""
    found = await services.database.read(problems.list_failures, account, services.clock(), limit)
    return FailureListResponse.model_validate(found)


@router.get("/replay")
async def show_replay_cost(
    services: Services, account: AccountDep, profile_id: Annotated[int | None, Query(ge=1, lt=2**63)] = None
) -> ReplayResponse:
    """Return the upper bound of the cost of a replay of all people or one person; nothing is changed.

    The response has the progress of the latest replay of all people, too.
    """
    found = await services.database.read(actions.replay_cost, account, services.reserve, profile_id)
    latest = services.replays.of(account.id)
    return ReplayResponse(
        profiles=found.profiles,
        most_requests=found.max_requests,
        most_seconds=found.max_seconds,
        latest=None if latest is None else ReplayProgressResponse.model_validate(latest),
    )


@router.post(
    "/replay", responses={202: {"model": QueuedResponse, "description": "Started; `GET` returns its progress."}}
)
async def replay(
    services: Services, account: AccountDep, operator: Operator, body: ReplayRequest, response: Response
) -> QueuedResponse:
    """Compare all people, or one person, with ProsperStack again, and write the differences.

    Edits made in ProsperStack are overwritten: get the cost first. A replay of all people runs in the background
    and gets 202; while one is running, another request does nothing. It ends with this process, and has to be
    started again then: the audit log records its progress.
    """
    if body.profile_id is None:
        response.status_code = 202
        return QueuedResponse(profiles=(await services.replays.start(account, operator)).total)
    await services.database.write(actions.replay, account, operator, services.clock(), body.profile_id)
    services.wake([account.id])
    return QueuedResponse(profiles=1)
