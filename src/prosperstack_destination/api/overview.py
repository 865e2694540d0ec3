"""How an account stands: what waits and until when, how fresh ProsperStack is, what was spent."""

from datetime import datetime
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from prosperstack_destination.admin.overview import DeliveryProgress, Period, UsageSummary, overview
from prosperstack_destination.admin.overview import history as history_of
from prosperstack_destination.api.dependencies import AccountDep, Services, to_datetime, to_datetime_or_none
from prosperstack_destination.api.errors import ApiRoute
from prosperstack_destination.api.mappings import RemapProgressResponse as GoingThrough
from prosperstack_destination.api.mappings import to_progress_response
from prosperstack_destination.store.accounts import AccountStatus
from prosperstack_destination.store.models import Status
from prosperstack_destination.store.rollups import Rollup, percentile

router = APIRouter(prefix="/api/accounts/{account_id}", tags=["accounts"], route_class=ApiRoute)


class ActivityResponse(BaseModel):
    """How much happened in a time."""

    since: datetime
    accepted: int = Field(description="Calls that were accepted.")
    refused: int
    delivered: int = Field(description="People settled by an update.")
    unchanged: int = Field(description="People for whom nothing had to be sent.")
    unmatched: int = Field(description="People who are no subscribers.")
    properties: int = Field(description="Values that were sent.")
    requests: int = Field(description="Requests to ProsperStack.")
    failed: int = Field(description="Those that did not succeed.")
    backlog: int = Field(description="The most people who were seen to wait.")
    fresh_p50: float | None = Field(description="Half was delivered within so many seconds of its call.")
    fresh_p95: float | None


class UsageResponse(ActivityResponse):
    """The same, against a plain forwarder."""

    naive_requests: int = Field(description="What a look-up and an update of each settled person would have cost.")
    saved_requests: int


class DeliveryProgressResponse(BaseModel):
    """How far a backlog is."""

    begun_at: datetime
    done: int
    left: int
    requests: int | None = Field(description="That are left; null while the account is stopped, or requests fail.")
    seconds: float | None
    at_most: bool = Field(description="It may be sooner: who of them needs an update is not known yet.")


class ShownFailures(BaseModel):
    """What failed, and is tried again; `/failures` lists it."""

    waiting: int = Field(description="People whose latest attempt failed.")
    rejected: int = Field(description="People whose email ProsperStack rejects.")
    erasures: int = Field(description="Erasures that ProsperStack has not carried out although it was asked.")
    reason: str | None = Field(description="Why it failed for the person who is tried next.")
    next_attempt_at: datetime | None


class RateLimitResponse(BaseModel):
    """ProsperStack's rate limit, as told last."""

    limit: int
    remaining: int
    window_seconds: float
    told_at: datetime


class OverviewResponse(BaseModel):
    """How an account stands."""

    status: AccountStatus
    status_reason: str | None
    status_until: datetime | None
    mapping_version: int
    going_through: GoingThrough | None = Field(
        description="Who is to be updated is being worked out: what traits mean has changed. Null: it is known."
    )
    up_to_date: bool = Field(description="ProsperStack has everything that Segment said.")
    waiting: dict[Status, int] = Field(description="People who are not settled, by status.")
    failures: ShownFailures
    progress: DeliveryProgressResponse | None = Field(description="Null: nothing waits.")
    rate_limit: RateLimitResponse | None
    hour: UsageResponse
    day: UsageResponse
    refused_keys: int = Field(
        description="Calls of the last day that were refused because their keys open no account."
    )


@router.get("/overview")
async def show_overview(services: Services, account: AccountDep) -> OverviewResponse:
    """How the account stands now."""
    waiting = await services.waiting(account.id)
    found = await services.database.read(overview, account, services.reserve, services.clock(), waiting)
    told = found.told
    return OverviewResponse(
        status=account.status,
        status_reason=account.status_reason,
        status_until=to_datetime_or_none(account.status_until),
        mapping_version=found.mapping,
        going_through=None if found.going_through is None else to_progress_response(found.going_through),
        up_to_date=found.is_up_to_date,
        waiting=dict(found.waiting),
        failures=ShownFailures(
            waiting=found.failures.waiting,
            rejected=found.failures.rejected,
            erasures=found.failures.erasures,
            reason=found.failures.reason,
            next_attempt_at=to_datetime_or_none(found.failures.next_attempt_at),
        ),
        progress=None if found.progress is None else _progress(found.progress),
        rate_limit=None
        if told is None
        else RateLimitResponse(
            limit=told.limit,
            remaining=told.remaining,
            window_seconds=told.window_seconds,
            told_at=to_datetime(told.reported_at),
        ),
        hour=_spent(found.hour),
        day=_spent(found.day),
        refused_keys=found.refused_keys,
    )


@router.get("/history")
async def show_history(
    services: Services, account: AccountDep, period: Period = Period.HOUR
) -> list[ActivityResponse]:
    """What happened in each minute of the last hour, each 15 of the last day, or each two hours of the week."""
    parts = await services.database.read(history_of, account.id, period, services.clock())
    return [ActivityResponse(**_happened(each)) for each in parts]


def _progress(progress: DeliveryProgress) -> DeliveryProgressResponse:
    arrival = progress.arrival
    return DeliveryProgressResponse(
        begun_at=to_datetime(progress.begun_at),
        done=progress.done,
        left=progress.left,
        requests=None if arrival is None else arrival.requests,
        seconds=None if arrival is None else arrival.seconds,
        at_most=arrival is not None and arrival.at_most,
    )


def _spent(spent: UsageSummary) -> UsageResponse:
    return UsageResponse(**_happened(spent.tally), naive_requests=spent.naive, saved_requests=spent.saved)


def _happened(tally: Rollup) -> dict[str, Any]:
    return {
        "since": to_datetime(tally.at),
        "accepted": tally.accepted,
        "refused": tally.refused,
        "delivered": tally.delivered,
        "unchanged": tally.unchanged,
        "unmatched": tally.unmatched,
        "properties": tally.properties,
        "requests": tally.requests,
        "failed": tally.failed,
        "backlog": tally.backlog,
        "fresh_p50": percentile(tally.freshness, 0.5),
        "fresh_p95": percentile(tally.freshness, 0.95),
    }
