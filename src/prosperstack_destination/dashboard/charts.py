"""Geometry of bar charts, which a template draws as SVG without a script, with each figure on hover."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from prosperstack_destination.admin.overview import Period
from prosperstack_destination.clock import utc
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
