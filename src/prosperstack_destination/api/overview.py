"""Overview and activity history of an account."""

from typing import Any

from fastapi import APIRouter
from pydantic import Field

from prosperstack_destination.admin.overview import DeliveryProgress, Period, UsageSummary, overview
from prosperstack_destination.admin.overview import history as history_of
from prosperstack_destination.api.mappings import RemapProgressResponse
from prosperstack_destination.api.models import ResponseBody, Timestamp, to_datetime
from prosperstack_destination.api.route import AccountDep, ApiRoute, Services
from prosperstack_destination.store.accounts import AccountStatus
from prosperstack_destination.store.models import Status
from prosperstack_destination.store.rollups import Rollup, percentile

router = APIRouter(prefix="/api/accounts/{account_id}", tags=["accounts"], route_class=ApiRoute)


class ActivityResponse(ResponseBody):
    """Activity of a time span."""

    since: Timestamp
    accepted: int = Field(description="Calls accepted.")
    refused: int
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

    status: AccountStatus
    status_reason: str | None
    status_until: Timestamp | None
    mapping_version: int
    going_through: RemapProgressResponse | None = Field(
        description="Progress of the remap of all profiles after a change of mapping or catalog; null: none runs."
    )
    up_to_date: bool = Field(description="ProsperStack has all that Segment sent.")
    waiting: dict[Status, int] = Field(description="People not settled, by status.")
    failures: FailuresResponse
    progress: DeliveryProgressResponse | None = Field(description="Null: no person waits.")
    rate_limit: RateLimitResponse | None
    hour: UsageResponse
    day: UsageResponse
    refused_keys: int = Field(description="Calls of the last day refused because their key opens no account.")


@router.get("/overview")
async def show_overview(services: Services, account: AccountDep) -> OverviewResponse:
    """Return the current state of the account."""
    waiting = await services.waiting(account.id)
    found = await services.database.read(overview, account, services.reserve, services.clock(), waiting)
    return OverviewResponse(
        status=account.status,
        status_reason=account.status_reason,
        status_until=to_datetime(account.status_until),
        mapping_version=found.mapping,
        going_through=None if found.remap is None else RemapProgressResponse.model_validate(found.remap),
        up_to_date=found.is_up_to_date,
        waiting=dict(found.waiting),
        failures=FailuresResponse.model_validate(found.failures),
        progress=None if found.progress is None else _progress(found.progress),
        rate_limit=None if found.rate_limit is None else RateLimitResponse.model_validate(found.rate_limit),
        hour=_usage_response(found.hour),
        day=_usage_response(found.day),
        refused_keys=found.refused_keys,
    )


@router.get("/history")
async def show_history(
    services: Services, account: AccountDep, period: Period = Period.HOUR
) -> list[ActivityResponse]:
    """Return activity: each minute of the last hour, 15 minutes of the last day, or two hours of the last week."""
    parts = await services.database.read(history_of, account.id, period, services.clock())
    return [ActivityResponse(**_activity_fields(each)) for each in parts]


def _progress(progress: DeliveryProgress) -> DeliveryProgressResponse:
    eta = progress.eta
    return DeliveryProgressResponse(
        begun_at=to_datetime(progress.begun_at),
        done=progress.done,
        left=progress.left,
        requests=None if eta is None else eta.requests,
        seconds=None if eta is None else eta.seconds,
        at_most=eta is not None and eta.at_most,
    )


def _usage_response(usage: UsageSummary) -> UsageResponse:
    return UsageResponse(**_activity_fields(usage.totals), naive_requests=usage.naive, saved_requests=usage.saved)


def _activity_fields(rollup: Rollup) -> dict[str, Any]:
    return {
        "since": rollup.at,
        "accepted": rollup.accepted,
        "refused": rollup.refused,
        "delivered": rollup.delivered,
        "unchanged": rollup.unchanged,
        "unmatched": rollup.unmatched,
        "properties": rollup.properties,
        "requests": rollup.requests,
        "failed": rollup.failed,
        "backlog": rollup.backlog,
        "fresh_p50": percentile(rollup.freshness, 0.5),
        "fresh_p95": percentile(rollup.freshness, 0.95),
    }
