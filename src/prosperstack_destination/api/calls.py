"""The calls that came in lately, and a test call."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, Field, JsonValue

from prosperstack_destination.admin import calls
from prosperstack_destination.admin.calls import CallFilter, ShownCall, send_test
from prosperstack_destination.api.dependencies import AccountDep, Operator, Services, to_datetime
from prosperstack_destination.api.errors import ApiRoute, RequestBody
from prosperstack_destination.http_responses import sender_status_of
from prosperstack_destination.ingest.explain import Explanation
from prosperstack_destination.ingest.responses import IngestResult
from prosperstack_destination.store.recent_calls import CallOutcome, Channel

router = APIRouter(prefix="/api/accounts/{account_id}/calls", tags=["calls"], route_class=ApiRoute)

#: The most calls in one answer.
PAGE = 200

CallId = Annotated[int, Path(ge=1, lt=2**63)]
Reveal = Annotated[bool, Query(description="Show people's data, which is masked otherwise.")]


class CallResponse(BaseModel):
    """A call that came in."""

    id: int
    at: datetime
    type: str = Field(description="As it calls itself, or `other`.")
    way: Channel = Field(description="How it came.")
    outcome: CallOutcome = Field(description="What became of it.")
    message: str = Field(description="What its sender was told.")
    source: str | None = Field(description="`kind:key` of the source, audience or computed trait that it is from.")
    person: str | None = Field(description="What stands for whom it names: the same for the same email, or id.")
    arrived: JsonValue = Field(description="Its JSON; its text where it is none or was cut; null: it is not kept.")
    is_json: bool
    size: int = Field(description="How long it was, in bytes; of a long one 16 KB are kept.")


class CallPageResponse(BaseModel):
    """A page of calls, the newest first; `before` asks for the next one, null ends the list."""

    calls: list[CallResponse]
    before: int | None


class FollowUpEvent(BaseModel):
    """Something that happened to the person since."""

    at: datetime
    kind: str
    outcome: str
    details: dict[str, JsonValue]


class CallDetailResponse(CallResponse):
    """A call in full."""

    explanation: Explanation | None = Field(
        description="What it does by the mapping in force now; null where nothing was understood, or came of it."
    )
    field: str | None = Field(description="The field that it was refused for.")
    afterwards: list[FollowUpEvent] = Field(
        description="What happened to the person from then on: deliveries, and requests to ProsperStack."
    )


class TestCallRequest(RequestBody):
    """A test call: the documented example, about somebody."""

    email: str = Field(max_length=500, description="Whom it is about: their properties become what it says.")
    traits: dict[str, JsonValue] | None = Field(None, description="Instead of those of the documentation.")


class TestCallResponse(BaseModel):
    """What its sender would be told."""

    status: int
    message: str


@router.get("")
async def list_calls(
    services: Services,
    account: AccountDep,
    email: Annotated[str | None, Query(max_length=500, description="Also calls that named an id.")] = None,
    type: Annotated[str | None, Query(max_length=50)] = None,
    source: Annotated[str | None, Query(max_length=600, description="`kind:key`, or a kind.")] = None,
    outcome: CallOutcome | None = None,
    before: Annotated[int | None, Query(ge=1, lt=2**63, description="As the page before named it.")] = None,
    limit: Annotated[int, Query(ge=1, le=PAGE)] = 50,
    reveal: Reveal = False,
) -> CallPageResponse:
    """Calls that came in within a day, a sample of them where they were many."""
    found = await services.database.read(
        calls.list_calls,
        account,
        CallFilter(email, type, source, outcome),
        services.vault.pseudonym,
        services.clock(),
        before=before,
        limit=limit,
        reveal=reveal,
    )
    return CallPageResponse(
        calls=[_listed(each) for each in found], before=found[-1].call.id if len(found) == limit else None
    )


@router.get("/{call_id}")
async def show_call(
    services: Services, account: AccountDep, call_id: CallId, reveal: Reveal = False
) -> CallDetailResponse:
    """One call: what arrived, what was understood and ignored, what was sent to ProsperStack and came back."""
    found = await services.database.read(
        calls.explain_call, account, call_id, services.vault.pseudonym, reveal=reveal
    )
    return CallDetailResponse(
        **_listed(found).model_dump(),
        explanation=found.explanation,
        field=found.field,
        afterwards=[
            FollowUpEvent(at=to_datetime(each.at), kind=each.kind, outcome=each.outcome, details=dict(each.details))
            for each in found.afterwards
        ],
    )


@router.post("/test")
async def send_test_call(
    services: Services, account: AccountDep, operator: Operator, call: TestCallRequest
) -> TestCallResponse:
    """Take in a test call as a real one: it is written to ProsperStack, too."""
    result = await send_test(services, account, call.email, operator, call.traits)
    status = result.status if isinstance(result, IngestResult) else sender_status_of(result)
    return TestCallResponse(
        status=status, message=result.message if isinstance(result, IngestResult) else str(result)
    )


def _listed(shown: ShownCall) -> CallResponse:
    call = shown.call
    return CallResponse(
        id=call.id,
        at=to_datetime(call.at),
        type=call.type,
        way=call.channel,
        outcome=call.outcome,
        message=call.message,
        source=call.source,
        person=call.subject or call.id_subject,
        arrived=shown.arrived,
        is_json=shown.is_json,
        size=call.size,
    )
