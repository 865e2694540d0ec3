"""The overview: is it healthy, how fresh is ProsperStack, what waits, and when is it done?"""

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
    Series("already so", "calm", lambda each: each.unchanged),
    Series("no subscriber", "pale", lambda each: each.unmatched),
)
_PROPERTIES: Final = (Series("delivered", "good", lambda each: each.properties),)
_REQUESTS: Final = (
    Series("answered", "good", lambda each: each.requests - each.failed),
    Series("failed", "bad", lambda each: each.failed),
)
_BACKLOG: Final = (Series("waiting", "calm", lambda each: each.backlog),)
_FRESHNESS: Final = (Series("95 of 100 within", "calm", lambda each: percentile(each.freshness, 0.95) or 0.0),)


class OverviewPages:
    """The pages of it."""

    def __init__(self, live: LiveUpdates) -> None:
        self._live = live

    def pages(self) -> list[PageRoute]:
        """Its routes."""
        return [
            PageRoute("", _start, of_account=False),
            PageRoute("/overview", _show),
            PageRoute("/overview/live", self._stream),
        ]

    async def _stream(self, visit: PageContext) -> Response:
        async def parts() -> dict[str, str]:
            return {"standing": await _standing(visit)}

        return self._live.stream(parts, visit.is_open)


async def _start(visit: PageContext) -> Response:
    """To the only account, or to all of them."""
    if len(visit.accounts) == 1:
        return visit.redirect(f"/dashboard/a/{visit.accounts[0].id}/overview")
    return visit.redirect("/dashboard/accounts")


async def _show(visit: PageContext) -> Response:
    period, now, account_id = _period(visit), visit.now, visit.account.id

    def read(connection: Connection) -> tuple[list[Rollup], list[Rollup]]:
        minutes = minutes_of_day(connection, account_id, now)
        return minutes, history(connection, account_id, period, now, minutes)

    minutes, parts = await visit.services.database.read(read)
    return visit.page(
        "overview.html",
        title="Overview",
        standing=await _standing(visit, minutes),
        period=period,
        periods=list(Period),
        charts=_charts(parts, period),
    )


async def _standing(visit: PageContext, minutes: list[Rollup] | None = None) -> str:
    """How the account stands; who waits is not told before that was counted, soon after the service began."""
    now = visit.services.clock()
    everybody = await visit.services.backlogs.latest(ALL_ACCOUNTS)
    waiting = None if everybody is None else everybody.get(visit.account.id, {})

    def read(connection: Connection) -> Overview:
        account = accounts.get(connection, visit.account.id) or visit.account
        return overview(connection, account, visit.reserve, now, waiting, minutes, counting=waiting is None)

    found = await visit.services.database.read(read)
    return visit.fragment("overview/standing.html", overview=found, now=now)


def _period(visit: PageContext) -> Period:
    asked = visit.query("period", Period.HOUR)
    return Period(asked) if asked in list(Period) else Period.HOUR


def _charts(parts: list[Rollup], period: Period) -> list[Chart]:
    return [
        chart("Calls", parts, period, _CALLS, _count),
        chart("People settled", parts, period, _SETTLED, _count),
        chart("Properties delivered", parts, period, _PROPERTIES, _count),
        chart("Requests to ProsperStack", parts, period, _REQUESTS, _count),
        chart("Waiting", parts, period, _BACKLOG, _count, adds_up=False),
        chart("From accepted to delivered", parts, period, _FRESHNESS, brief, adds_up=False),
    ]


def _count(figure: float) -> str:
    return number(int(figure)) if float(figure).is_integer() else number(figure)
