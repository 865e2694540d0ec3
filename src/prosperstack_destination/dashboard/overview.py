"""Overview of an account: status, backlog, delivery times and charts."""

from typing import Final

from sqlalchemy import Connection
from starlette.responses import Response

from prosperstack_destination.admin.labels import brief
from prosperstack_destination.admin.overview import Overview, Period, history, minutes_of_day, overview
from prosperstack_destination.admin.services import ALL_ACCOUNTS
from prosperstack_destination.dashboard.charts import Chart, Series, chart
from prosperstack_destination.dashboard.context import PageContext
from prosperstack_destination.dashboard.rendering import number
from prosperstack_destination.dashboard.routing import PageRoute
from prosperstack_destination.dashboard.sse import LiveUpdates
from prosperstack_destination.store import accounts
from prosperstack_destination.store.rollups import Rollup, percentile

_CALLS: Final = (
    Series("accepted", "good", lambda each: each.accepted),
    Series("refused", "bad", lambda each: each.refused),
)
_SETTLED: Final = (
    Series("updated", "good", lambda each: each.delivered),
    Series("up to date", "calm", lambda each: each.unchanged),
    Series("no subscriber", "pale", lambda each: each.unmatched),
)
_PROPERTIES: Final = (Series("delivered", "good", lambda each: each.properties),)
_REQUESTS: Final = (
    Series("answered", "good", lambda each: each.requests - each.failed),
    Series("failed", "bad", lambda each: each.failed),
)
_BACKLOG: Final = (Series("waiting", "calm", lambda each: each.backlog),)
_FRESHNESS: Final = (Series("95% within", "calm", lambda each: percentile(each.freshness, 0.95) or 0.0),)


class OverviewPages:
    """Routes of the overview."""

    def __init__(self, live: LiveUpdates) -> None:
        self._live = live

    def pages(self) -> list[PageRoute]:
        """Return the routes."""
        return [
            PageRoute("", _start, of_account=False),
            PageRoute("/overview", _show),
            PageRoute("/overview/live", self._stream),
        ]

    async def _stream(self, context: PageContext) -> Response:
        async def parts() -> dict[str, str]:
            return {"status": await _status(context)}

        return self._live.stream(parts, context.is_open)


async def _start(context: PageContext) -> Response:
    """Redirect to the only account, or to the page of all accounts."""
    if len(context.accounts) == 1:
        return context.redirect(f"/dashboard/a/{context.accounts[0].id}/overview")
    return context.redirect("/dashboard/accounts")


async def _show(context: PageContext) -> Response:
    period, now, account_id = _period(context), context.now, context.account.id

    def read(connection: Connection) -> tuple[list[Rollup], list[Rollup]]:
        minutes = minutes_of_day(connection, account_id, now)
        return minutes, history(connection, account_id, period, now, minutes)

    minutes, parts = await context.services.database.read(read)
    return context.page(
        "overview.html",
        title="Overview",
        status_part=await _status(context, minutes),
        period=period,
        periods=list(Period),
        charts=_charts(parts, period),
    )


async def _status(context: PageContext, minutes: list[Rollup] | None = None) -> str:
    """Render the status of the account. The backlog is unknown until its first count after the start."""
    now = context.services.clock()
    backlogs = await context.services.backlogs.latest(ALL_ACCOUNTS)
    waiting = None if backlogs is None else backlogs.get(context.account.id, {})

    def read(connection: Connection) -> Overview:
        account = accounts.get(connection, context.account.id) or context.account
        return overview(connection, account, context.reserve, now, waiting, minutes, counting=waiting is None)

    data = await context.services.database.read(read)
    return context.fragment("overview/status.html", overview=data, now=now)


def _period(context: PageContext) -> Period:
    period = context.query("period", Period.HOUR)
    return Period(period) if period in list(Period) else Period.HOUR


def _charts(parts: list[Rollup], period: Period) -> list[Chart]:
    return [
        chart("Calls", parts, period, _CALLS, _count),
        chart("People processed", parts, period, _SETTLED, _count),
        chart("Properties delivered", parts, period, _PROPERTIES, _count),
        chart("Requests to ProsperStack", parts, period, _REQUESTS, _count),
        chart("Waiting", parts, period, _BACKLOG, _count, adds_up=False),
        chart("Time to delivery", parts, period, _FRESHNESS, brief, adds_up=False),
    ]


def _count(figure: float) -> str:
    return number(int(figure)) if float(figure).is_integer() else number(figure)
