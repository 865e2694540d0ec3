"""Tests of the geometry of charts."""

from hypothesis import given
from hypothesis import strategies as st

from prosperstack_destination.admin.overview import Period
from prosperstack_destination.clock import MINUTE
from prosperstack_destination.dashboard.overview import BOTTOM, HEIGHT, LEFT, TOP, WIDTH, Series, chart
from prosperstack_destination.store.rollups import Rollup
from support.clocks import NEW_YEAR

SERIES = (Series("good", "good", lambda each: each.accepted), Series("bad", "bad", lambda each: each.refused))


@given(st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 10**9)), min_size=60, max_size=60))
def test_bars_stay_within_the_drawing(counts: list[tuple[int, int]]) -> None:
    """With any figures the bars stay within the drawing, and every figure above zero has one."""
    parts = [Rollup(NEW_YEAR + place * MINUTE, good, bad) for place, (good, bad) in enumerate(counts)]

    drawn = chart("Calls", parts, Period.HOUR, SERIES, str)

    for (good, bad), column in zip(counts, drawn.columns, strict=True):
        assert len(column.bars) == (good > 0) + (bad > 0)
        for bar in column.bars:
            assert LEFT <= bar.x <= bar.x + bar.width <= WIDTH + 0.01
            assert TOP - 0.01 <= bar.y <= HEIGHT - BOTTOM
            assert bar.height > 0


def test_chart_has_figures_and_sums() -> None:
    """Each column has its figures, the chart its sums, and grid lines have round figures."""
    parts = [Rollup(NEW_YEAR + place * MINUTE, accepted=place, refused=1) for place in range(60)]

    drawn = chart("Calls", parts, Period.HOUR, SERIES, lambda figure: f"{figure:g}")

    assert drawn.columns[5].time == "00:05"
    assert drawn.columns[5].figures == ("good: 5", "bad: 1")
    assert drawn.summary == "Calls in the last hour: good 1770, bad 60, maximum 60."
    assert [line.text for line in drawn.lines] == ["50", "100"]
    assert len(drawn.times) == 4


def test_empty_chart_has_no_bars() -> None:
    """A chart without activity has no bars."""
    drawn = chart("Calls", [Rollup(NEW_YEAR)] * 60, Period.HOUR, SERIES, str)

    assert drawn.lines == ()
    assert not any(column.bars for column in drawn.columns)
