"""Recent calls, and test calls."""

from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import AliasPath, Field, JsonValue

from prosperstack_destination.admin import calls
from prosperstack_destination.admin.calls import CallFilter, send_test
from prosperstack_destination.api.models import RequestBody, ResponseBody, Timestamp
from prosperstack_destination.api.route import AccountDep, ApiRoute, Operator, Services
from prosperstack_destination.http_responses import sender_status_of
from prosperstack_destination.ingest.explain import Explanation
from prosperstack_destination.ingest.responses import IngestResult
from prosperstack_destination.store.recent_calls import CallOutcome, Channel

router = APIRouter(prefix="/api/accounts/{account_id}/calls", tags=["calls"], route_class=ApiRoute)

#: Calls in one response at most.
PAGE = 200

CallId = Annotated[int, Path(ge=1, lt=2**63)]
Reveal = Annotated[bool, Query(description="Show personal data instead of masking it.")]


class CallResponse(ResponseBody):
    """A call that arrived."""

    id: int = Field(validation_alias=AliasPath("call", "id"))
    at: Timestamp = Field(validation_alias=AliasPath("call", "at"))
    type: str = Field(validation_alias=AliasPath("call", "type"), description="The call's own type, or `other`.")
    way: Channel = Field(validation_alias=AliasPath("call", "channel"), description="Way by which it arrived.")
    outcome: CallOutcome = Field(validation_alias=AliasPath("call", "outcome"), description="Outcome.")
    message: str = Field(
        validation_alias=AliasPath("call", "message"), description="Message of the response to its sender."
    )
    source: str | None = Field(
        validation_alias=AliasPath("call", "source"),
        description="`kind:key` of its source, audience or computed trait.",
    )
    person: str | None = Field(description="Pseudonym of its email or ID.")
    arrived: JsonValue = Field(description="The call's JSON; its text if not JSON or cut; null: not kept.")
    is_json: bool
    size: int = Field(
        validation_alias=AliasPath("call", "size"), description="Size in bytes; at most 16 KB of a call are kept."
    )


class CallPageResponse(ResponseBody):
    """A page of calls, newest first. Pass `before` to get the next page; null ends the list."""

    calls: list[CallResponse]
    before: int | None


class FollowUpEvent(ResponseBody):
    """An event of the person after the call."""

    at: Timestamp
    kind: str
    outcome: str
    details: dict[str, JsonValue]


class CallDetailResponse(CallResponse):
    """A call in full."""

    explanation: Explanation | None = Field(
        description="Effect under the current mapping; null if the call was refused or has no effect."
    )
    field: str | None = Field(description="Field for which it was refused.")
    afterwards: list[FollowUpEvent] = Field(
        description="Later events of the person: deliveries, and requests to ProsperStack."
    )


class TestCallRequest(RequestBody):
    """A test call: the documented example, about the given email."""

    email: str = Field(max_length=500, description="The person's email: the call changes this person's properties.")
    traits: dict[str, JsonValue] | None = Field(None, description="Traits in place of the documented example's.")


class TestCallResponse(ResponseBody):
    """Response that the sender of the call would get."""

    status: int
    message: str


@router.get("")
async def list_calls(
    services: Services,
    account: AccountDep,
    email: Annotated[
        str | None, Query(max_length=500, description="Also finds calls that named only an ID of the person.")
    ] = None,
    type: Annotated[str | None, Query(max_length=50)] = None,
    source: Annotated[str | None, Query(max_length=600, description="`kind:key`, or a kind.")] = None,
    outcome: CallOutcome | None = None,
    before: Annotated[int | None, Query(ge=1, lt=2**63, description="`before` of the previous page.")] = None,
    limit: Annotated[int, Query(ge=1, le=PAGE)] = 50,
    reveal: Reveal = False,
) -> CallPageResponse:
    """List the calls of the last day; with many calls, a sample."""
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
        calls=[CallResponse.model_validate(each) for each in found],
        before=found[-1].call.id if len(found) == limit else None,
    )


@router.get("/{call_id}")
async def show_call(
    services: Services, account: AccountDep, call_id: CallId, reveal: Reveal = False
) -> CallDetailResponse:
    """Return one call: its JSON, its explanation, and the requests to ProsperStack that followed."""
    view = await services.database.read(
        calls.explain_call, account, call_id, services.vault.pseudonym, reveal=reveal
    )
    return CallDetailResponse.model_validate(view)


@router.post("/test")
async def send_test_call(
    services: Services, account: AccountDep, operator: Operator, body: TestCallRequest
) -> TestCallResponse:
    """Ingest a test call like a regular one: it is delivered to ProsperStack, too."""
    result = await send_test(services, account, body.email, operator, body.traits)
    status = result.status if isinstance(result, IngestResult) else sender_status_of(result)
    return TestCallResponse(
        status=status, message=result.message if isinstance(result, IngestResult) else str(result)
    )
