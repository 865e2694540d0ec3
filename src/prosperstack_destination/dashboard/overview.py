"""Overview of an account: status, backlog, delivery times, and bar charts, which a template draws as SVG."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from starlette.responses import Response

from prosperstack_destination.admin.labels import ACCOUNT_HEADLINE, brief
from prosperstack_destination.admin.overview import Period, overview, with_minutes
from prosperstack_destination.admin.services import ALL_ACCOUNTS
from prosperstack_destination.clock import utc
from prosperstack_destination.dashboard.rendering import number
from prosperstack_destination.dashboard.routing import PageContext, PageRoute
from prosperstack_destination.dashboard.sse import LiveUpdates
from prosperstack_destination.store.rollups import Rollup

#: Size of the drawing and its margins, in SVG units.
WIDTH: Final = 640
HEIGHT: Final = 150
LEFT: Final = 60
TOP: Final = 8
BOTTOM: Final = 22
_TIMES: Final = {Period.HOUR: "%H:%M", Period.DAY: "%H:%M", Period.WEEK: "%a %d %b %H:%M"}
#: Parts between two time labels.
_LABELLED: Final = {Period.HOUR: 15, Period.DAY: 16, Period.WEEK: 12}
_BELOW: Final = {Period.HOUR: "%H:%M", Period.DAY: "%H:%M", Period.WEEK: "%a"}


@dataclass(frozen=True, slots=True)
class Series:
    """One kind of figure with a colour of its own."""

    name: str
    #: CSS class.
    looks: str
    of: Callable[[Rollup], float]


@dataclass(frozen=True, slots=True)
class Bar:
    """Segment of a column."""

    x: float
    y: float
    width: float
    height: float
    looks: str


@dataclass(frozen=True, slots=True)
class Column:
    """One part of the period: its bars and its figures as text."""

    x: float
    width: float
    time: str
    figures: tuple[str, ...]
    bars: tuple[Bar, ...]


@dataclass(frozen=True, slots=True)
class Tick:
    """Grid line, or time label below the axis."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Chart:
    """Chart that a template draws."""

    title: str
    series: tuple[Series, ...]
    columns: tuple[Column, ...]
    lines: tuple[Tick, ...]
    times: tuple[Tick, ...]
    #: Summary in one sentence, for screen readers.
    summary: str


def chart(
    title: str,
    parts: Sequence[Rollup],
    period: Period,
    series: Sequence[Series],
    write: Callable[[float], str],
    *,
    adds_up: bool = True,
) -> Chart:
    """Return a chart of stacked columns, one for each part of the period; ``write`` formats a figure.

    ``adds_up``: the summary also states the sum over all parts.
    """
    figures = [[each.of(part) for each in series] for part in parts]
    most = max((sum(column) for column in figures), default=0)
    top = _round_up(most)
    pitch = (WIDTH - LEFT) / max(len(parts), 1)
    room = HEIGHT - TOP - BOTTOM
    columns = []
    for place, (part, column) in enumerate(zip(parts, figures, strict=True)):
        x, y, bars = LEFT + place * pitch, float(HEIGHT - BOTTOM), []
        for each, figure in zip(series, column, strict=True):
            height = room * figure / top if top else 0.0
            y -= height
            if figure:
                bars.append(_bar(x, y, pitch, height, each.looks))
        labels = tuple(f"{each.name}: {write(figure)}" for each, figure in zip(series, column, strict=True))
        columns.append(Column(round(x, 2), round(pitch, 2), _time(part.at, _TIMES[period]), labels, tuple(bars)))
    sums = [sum(column[place] for column in figures) for place in range(len(series))]
    totals = [f"{each.name} {write(figure)}" for each, figure in zip(series, sums, strict=True)]
    facts = [*(totals if adds_up else []), f"maximum {write(most)}"]
    return Chart(
        title=title,
        series=tuple(series),
        columns=tuple(columns),
        lines=tuple(Tick(round(HEIGHT - BOTTOM - room * part, 2), write(top * part)) for part in (0.5, 1.0) if top),
        times=tuple(
            Tick(round(LEFT + (place + 0.5) * pitch, 2), _time(part.at, _BELOW[period]))
            for place, part in enumerate(parts)
            if (len(parts) - 1 - place) % _LABELLED[period] == _LABELLED[period] // 2
        ),
        summary=f"{title} in the last {period}: {', '.join(facts)}.",
    )


def _bar(x: float, y: float, pitch: float, height: float, looks: str) -> Bar:
    gap = min(pitch * 0.15, 2.0)
    return Bar(round(x + gap / 2, 2), round(y, 2), round(pitch - gap, 2), round(max(height, 0.75), 2), looks)


def _round_up(most: float) -> float:
    """Return the next value of 1, 2, 5, 10, 20, …"""
    if most <= 0:
        return 0.0
    step = 1.0
    while step < most:
        for factor in (2.0, 2.5, 2.0):
            step *= factor
            if step >= most:
                break
    return step


@lru_cache(maxsize=2_048)  # each chart of a page has the same times
def _time(at: int, form: str) -> str:
    return f"{utc(at):{form}}"


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
_FRESHNESS: Final = (Series("95% within", "calm", lambda each: each.fresh_p95 or 0.0),)


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
    period = _period(context)
    minutes, parts = await context.services.database.read(with_minutes, context.account.id, period, context.now)
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
    data = await context.services.database.read(
        overview, context.account, context.reserve, now, waiting, minutes, counting=waiting is None
    )
    headline = ACCOUNT_HEADLINE.get(data.account.status)
    return context.fragment("overview/status.html", overview=data, headline=headline, now=now)


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
