"""Overview and activity history of an account."""

from typing import Annotated

from fastapi import APIRouter
from pydantic import AliasPath, BeforeValidator, Field

from prosperstack_destination.admin.overview import Period, UsageSummary, overview
from prosperstack_destination.admin.overview import history as history_of
from prosperstack_destination.api.mappings import RemapProgressResponse
from prosperstack_destination.api.models import ResponseBody, Timestamp
from prosperstack_destination.api.route import AccountDep, ApiRoute, Services
from prosperstack_destination.store.accounts import AccountStatus
from prosperstack_destination.store.models import Status

router = APIRouter(prefix="/api/accounts/{account_id}", tags=["accounts"], route_class=ApiRoute)


class ActivityResponse(ResponseBody):
    """Activity of a time span."""

    since: Timestamp = Field(validation_alias="at")
    accepted: int = Field(description="Calls accepted.")
    refused: int
    filtered: int = Field(description="Calls that the mapping left out (accept).")
    no_consent: int = Field(description="Calls without the consent that the mapping requires.")
    delivered: int = Field(description="People settled by an update.")
    unchanged: int = Field(description="People settled without an update.")
    unmatched: int = Field(description="People without a subscriber.")
    properties: int = Field(description="Values sent.")
    requests: int = Field(description="Requests to ProsperStack.")
    failed: int = Field(description="Failed requests.")
    backlog: int = Field(description="Most people that waited at once.")
    fresh_p50: float | None = Field(description="Median delay from call to delivery, in seconds.")
    fresh_p95: float | None


class UsageResponse(ActivityResponse):
    """Activity of a time span, compared with a plain forwarder."""

    naive_requests: int = Field(
        description="Requests of a forwarder: a lookup and an update of each settled person."
    )
    saved_requests: int


def _usage_response(usage: UsageSummary) -> UsageResponse:
    totals = ActivityResponse.model_validate(usage.totals).model_dump()
    return UsageResponse(**totals, naive_requests=usage.naive, saved_requests=usage.saved)


class DeliveryProgressResponse(ResponseBody):
    """Progress of a backlog."""

    begun_at: Timestamp
    done: int
    left: int
    requests: int | None = Field(description="Requests left; null while the account is stopped, or requests fail.")
    seconds: float | None
    at_most: bool = Field(
        description="The estimate is an upper bound: how many people need an update is not known yet."
    )


class FailuresResponse(ResponseBody):
    """Failed deliveries that are retried; `/failures` lists them."""

    waiting: int = Field(description="People whose latest attempt failed.")
    rejected: int = Field(description="People whose email ProsperStack rejected.")
    erasures: int = Field(description="Erasures that failed in ProsperStack.")
    reason: str | None = Field(description="Reason of the failure that is retried next.")
    next_attempt_at: Timestamp | None


class RateLimitResponse(ResponseBody):
    """ProsperStack's rate limit as last reported."""

    limit: int
    remaining: int
    window_seconds: float
    told_at: Timestamp = Field(validation_alias="reported_at")


class OverviewResponse(ResponseBody):
    """State of an account."""

    status: AccountStatus = Field(validation_alias=AliasPath("account", "status"))
    status_reason: str | None = Field(validation_alias=AliasPath("account", "status_reason"))
    status_until: Timestamp | None = Field(validation_alias=AliasPath("account", "status_until"))
    mapping_version: int = Field(validation_alias="mapping")
    going_through: RemapProgressResponse | None = Field(
        validation_alias="remap",
        description="Progress of the remap of all profiles after a change of mapping or catalog; null: none runs.",
    )
    up_to_date: bool = Field(
        validation_alias="is_up_to_date", description="ProsperStack has all that Segment sent."
    )
    waiting: dict[Status, int] = Field(description="People not settled, by status.")
    failures: FailuresResponse
    progress: DeliveryProgressResponse | None = Field(description="Null: no person waits.")
    rate_limit: RateLimitResponse | None
    hour: Annotated[UsageResponse, BeforeValidator(_usage_response)]
    day: Annotated[UsageResponse, BeforeValidator(_usage_response)]
    refused_keys: int = Field(description="Calls of the last day refused because their key opens no account.")


@router.get("/overview")
async def show_overview(services: Services, account: AccountDep) -> OverviewResponse:
    """Return the current state of the account."""
    waiting = await services.waiting(account.id)
    found = await services.database.read(overview, account, services.reserve, services.clock(), waiting)
    return OverviewResponse.model_validate(found)


@router.get("/history")
async def show_history(
    services: Services, account: AccountDep, period: Period = Period.HOUR
) -> list[ActivityResponse]:
    """Return activity: each minute of the last hour, 15 minutes of the last day, or two hours of the last week."""
    parts = await services.database.read(history_of, account.id, period, services.clock())
    return [ActivityResponse.model_validate(each) for each in parts]
