"""Tests of the estimate, as a table whose comments show the arithmetic."""

import pytest

from prosperstack_destination.admin.overview import Eta, estimate
from prosperstack_destination.clock import HOUR, MINUTE, SECOND
from prosperstack_destination.prosperstack.forecast import Rate
from prosperstack_destination.store.listing_state import ListingState
from prosperstack_destination.store.models import Status
from prosperstack_destination.store.rollups import Rollup
from support.clocks import NEW_YEAR

#: 90 a minute.
RATE = Rate(100, 60.0, 0.1)
LISTED = ListingState(as_of=NEW_YEAR, size=50_000)
LISTING = ListingState(began_at=NEW_YEAR, size=50_000, pages=400)


def expected(
    waiting: dict[Status, int],
    directory: ListingState = LISTED,
    stretch: Rollup | None = None,
    recent: Rollup | None = None,
    *,
    age: int = 0,
) -> Eta | None:
    now = NEW_YEAR + 10 * HOUR
    return estimate(
        waiting,
        directory,
        RATE,
        stretch or Rollup(),
        recent or Rollup(),
        begun_at=now - age,
        now=now,
    )


def test_people_without_subscriber_are_no_backlog() -> None:
    """People who wait for a subscriber count as no backlog."""
    assert expected({Status.UNMATCHED: 5}) is None


def test_failing_requests_leave_no_estimate() -> None:
    """If nearly all requests fail there is no estimate."""
    assert expected({Status.READY: 900}, recent=Rollup(requests=10, failed=9)) is None


@pytest.mark.parametrize(
    ("found", "requests", "minutes", "at_most"),
    [
        # Each of them is an update: 900 / 90.
        (expected({Status.READY: 900}), (0, 900), 10, False),
        # 500 pages, and each of them may differ: 18,500 / 90.
        (expected({Status.UNKNOWN: 18_000}), (500, 18_000), 18_500 / 90, True),
        # Nobody knows how many subscribers there are: a look-up and an update each.
        (expected({Status.PENDING: 90}, ListingState()), (90, 90), 2, True),
        # Of five hundred pages four hundred are there.
        (expected({Status.UNKNOWN: 1_000}, LISTING), (100, 1_000), 1_100 / 90, True),
        # Of a hundred settled ones sixty were updates.
        (
            expected({Status.UNKNOWN: 1_000}, stretch=Rollup(delivered=60, unmatched=30, unchanged=10)),
            (500, 600),
            1_100 / 90,
            False,
        ),
        # It went slower lately: 450 in ten minutes, of which nobody knows why.
        (expected({Status.READY: 900}, recent=Rollup(requests=450), age=HOUR), (0, 900), 20, False),
        # Hardly anything went lately: ProsperStack was away, and that tells nothing of the time after.
        (expected({Status.READY: 900}, recent=Rollup(requests=9), age=HOUR), (0, 900), 10, False),
        # Of four requests one fails, and has to be sent again.
        (expected({Status.READY: 900}, recent=Rollup(requests=8, failed=2)), (0, 900), 900 / (90 * 0.75), False),
    ],
)
def test_estimate_divides_requests_by_the_rate(
    found: Eta | None, requests: tuple[int, int], minutes: float, at_most: bool
) -> None:
    """The time left is the number of requests left, divided by the rate."""
    assert found is not None
    assert (found.lookups, found.updates) == requests
    assert found.seconds == pytest.approx(minutes * MINUTE / SECOND)
    assert found.at_most is at_most
