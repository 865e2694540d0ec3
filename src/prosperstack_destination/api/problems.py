"""What cannot be delivered, what failed, and doing something about it."""

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Self

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field, JsonValue, model_validator
from sqlalchemy import Connection

from prosperstack_destination.admin import actions
from prosperstack_destination.admin.advice import advice
from prosperstack_destination.admin.replay_jobs import ReplayProgress
from prosperstack_destination.admin.suggestions import Suggestion, suggested
from prosperstack_destination.api.dependencies import (
    AccountDep,
    Operator,
    Services,
    to_datetime,
    to_datetime_or_none,
)
from prosperstack_destination.api.errors import ApiRoute, RequestBody
from prosperstack_destination.store import problems, profile_queries, remote_erasures
from prosperstack_destination.store.models import Status
from prosperstack_destination.store.problems import ProblemGroup, Sample
from prosperstack_destination.store.profile_queries import ProfileSummary

router = APIRouter(prefix="/api/accounts/{account_id}", tags=["problems"], route_class=ApiRoute)


class ProblemSampleResponse(BaseModel):
    """One profile with a problem."""

    profile_id: int
    email: str
    trait: str
    value: JsonValue


class ShownSuggestion(BaseModel):
    """A rule that was tried out on stored people, and leaves fewer problems with the property."""

    rule: dict[str, JsonValue] = Field(description="The rule, to be added to the mapping in force.")
    yaml: str = Field(description="The same as a mapping file of its own.")
    looked_at: int = Field(description="Profiles on which it was tried out.")
    problems_before: int
    problems_after: int


class ProblemGroupResponse(BaseModel):
    """Problems of one property with the same reason."""

    property: str
    reason: str
    advice: str = Field(description="What helps, in a sentence or two.")
    suggestion: ShownSuggestion | None = Field(
        description="A rule that helps, tried out; null: none is known, or it is past the ten most frequent kinds."
    )
    set_aside: bool = Field(
        description="Whether ProsperStack rejected the values, which are not sent again before they are others."
    )
    count: int = Field(description="How many people have it.")
    since: datetime
    samples: list[ProblemSampleResponse]


class FailedPersonResponse(BaseModel):
    """Somebody of whom the latest attempt failed, or whose email ProsperStack rejects."""

    profile_id: int
    email: str
    reason: str | None
    next_attempt_at: datetime | None = Field(description="Null: with their next call, or by a retry.")


class FailedErasureResponse(BaseModel):
    """A subscriber of somebody who was erased, who could not be cleared of what was written for them."""

    subscriber_id: str
    delete_subscriber: bool = Field(description="Whether the subscriber is to be deleted altogether.")
    reason: str | None
    attempts: int = Field(description="How many in a row failed.")
    next_attempt_at: datetime


class ListedFailures(BaseModel):
    """What failed, and is tried again, or is set aside; of each so many at most as were asked for."""

    waiting: list[FailedPersonResponse] = Field(description="People who are left alone after a failed attempt.")
    set_aside: list[FailedPersonResponse] = Field(description="People whose email ProsperStack rejects.")
    clearings: list[FailedErasureResponse]


class RetryRequest(RequestBody):
    """Which problem is to be looked at again, as `problems` has it; neither: all of them, and whoever failed."""

    property: str | None = Field(None, max_length=500)
    reason: str | None = Field(None, max_length=5_000)

    @model_validator(mode="after")
    def _both_or_neither(self) -> Self:
        if (self.property is None) is not (self.reason is None):
            raise ValueError("send both property and reason, or neither")
        return self


class QueuedResponse(BaseModel):
    """How many people are looked at again."""

    profiles: int


class ReplayCostResponse(BaseModel):
    """What a replay costs at most; what ProsperStack has already costs nothing where that is known."""

    profiles: int
    most_requests: int
    most_seconds: float


class ReplayProgressResponse(BaseModel):
    """How far having everybody compared anew is; those who are due are compared as requests allow."""

    began_at: datetime
    total: int = Field(description="People of the account when it began.")
    done: int = Field(description="How many of them are due by now.")
    finished_at: datetime | None = Field(description="Null: it is under way.")
    failed: str | None = Field(description="Why it ended before everybody was due: it may be begun anew.")


class ReplayResponse(ReplayCostResponse):
    """The cost, and the latest one for everybody."""

    latest: ReplayProgressResponse | None = Field(description="Null: there was none since this process began.")


class ReplayRequest(RequestBody):
    """Whom to compare with ProsperStack anew."""

    profile_id: int | None = Field(None, ge=1, lt=2**63, description="Null: everybody.")


@router.get("/problems")
async def show_problems(
    services: Services, account: AccountDep, limit: Annotated[int, Query(ge=1, le=500)] = 100
) -> list[ProblemGroupResponse]:
    """Problems by property and reason, the most frequent first; what is fixed goes by itself."""

    def work(connection: Connection) -> tuple[list[ProblemGroup], dict[tuple[str, str], Suggestion]]:
        groups = problems.grouped(connection, account.id, limit=limit)
        return groups, suggested(connection, account, groups)

    groups, suggestions = await services.database.read(work)
    return [
        ProblemGroupResponse(
            property=each.property,
            reason=each.reason,
            advice=advice(each.reason),
            suggestion=_suggestion(suggestions.get((each.property, each.reason))),
            set_aside=each.is_set_aside,
            count=each.count,
            since=to_datetime(each.since),
            samples=[_sample(one) for one in each.samples],
        )
        for each in groups
    ]


def _suggestion(found: Suggestion | None) -> ShownSuggestion | None:
    return None if found is None else ShownSuggestion(**asdict(found))


@router.post("/problems/retry")
async def retry_problems(
    services: Services, account: AccountDep, operator: Operator, wanted: RetryRequest
) -> QueuedResponse:
    """Look now at whoever has a problem, and send once more what ProsperStack rejected of them."""
    key, reason, now = wanted.property, wanted.reason, services.clock()
    if key is None or reason is None:
        count = await actions.retry_all(services.database, account, operator, now)
    else:
        count = await actions.retry_group(services.database, account, key, reason, operator, now)
    services.wake([account.id])
    return QueuedResponse(profiles=count)


@router.get("/failures")
async def show_failures(
    services: Services, account: AccountDep, limit: Annotated[int, Query(ge=1, le=200)] = 20
) -> ListedFailures:
    """Who waits for another attempt after one that failed, or is set aside: why, and until when."""

    def work(
        connection: Connection,
    ) -> tuple[list[ProfileSummary], tuple[ProfileSummary, ...], list[remote_erasures.FailedRemoteErasure]]:
        rejected = profile_queries.listed(
            connection, account.id, after="", limit=limit, statuses=[Status.SET_ASIDE]
        )
        now = services.clock()
        waiting = profile_queries.failed(connection, account.id, limit)
        return waiting, rejected.profiles, remote_erasures.failed(connection, account.id, now, limit)

    waiting, set_aside, clearings = await services.database.read(work)
    return ListedFailures(
        waiting=[_failed(each) for each in waiting],
        set_aside=[_failed(each) for each in set_aside],
        clearings=[
            FailedErasureResponse(
                subscriber_id=each.clearing.subscriber_id,
                delete_subscriber=each.clearing.delete_subscriber,
                reason=each.clearing.reason,
                attempts=each.clearing.attempts,
                next_attempt_at=to_datetime(each.due_at),
            )
            for each in clearings
        ],
    )


@router.get("/replay")
async def show_replay_cost(
    services: Services, account: AccountDep, profile_id: Annotated[int | None, Query(ge=1, lt=2**63)] = None
) -> ReplayResponse:
    """What it costs at most to compare everybody, or one person, with ProsperStack anew; nothing is done.

    And how far it is, where everybody is compared.
    """
    found = await services.database.read(actions.replay_cost, account, services.reserve, profile_id)
    latest = services.replays.of(account.id)
    return ReplayResponse(
        profiles=found.profiles,
        most_requests=found.most_requests,
        most_seconds=found.most_seconds,
        latest=None if latest is None else _replay(latest),
    )


@router.post(
    "/replay", responses={202: {"model": QueuedResponse, "description": "It goes on: `GET` tells how far it is."}}
)
async def replay(
    services: Services, account: AccountDep, operator: Operator, whom: ReplayRequest, response: Response
) -> QueuedResponse:
    """Compare everybody, or one person, with ProsperStack anew, and write what differs.

    Also where somebody edited it there: ask for the cost first. For everybody it is done in the background, and
    answered with 202; while that is under way, asking for it again does nothing. It ends with this process, and has
    to be begun anew then: the audit trail tells how far it was.
    """
    if whom.profile_id is None:
        response.status_code = 202
        return QueuedResponse(profiles=(await services.replays.begin(account, operator)).total)
    await services.database.write(actions.replay, account, operator, services.clock(), whom.profile_id)
    services.wake([account.id])
    return QueuedResponse(profiles=1)


def _replay(replay: ReplayProgress) -> ReplayProgressResponse:
    return ReplayProgressResponse(
        began_at=to_datetime(replay.began_at),
        total=replay.total,
        done=replay.done,
        finished_at=to_datetime_or_none(replay.finished_at),
        failed=replay.failed,
    )


def _sample(sample: Sample) -> ProblemSampleResponse:
    return ProblemSampleResponse(
        profile_id=sample.profile_id, email=sample.email, trait=sample.trait, value=sample.value
    )


def _failed(person: ProfileSummary) -> FailedPersonResponse:
    return FailedPersonResponse(
        profile_id=person.id,
        email=person.email,
        reason=person.status_reason,
        next_attempt_at=to_datetime_or_none(person.due_at),
    )
