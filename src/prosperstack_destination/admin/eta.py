"""Estimated time until the backlog is delivered. Pure arithmetic."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from prosperstack_destination.clock import MINUTE, SECOND
from prosperstack_destination.prosperstack.forecast import PAGE, Rate
from prosperstack_destination.store.listing_state import ListingState
from prosperstack_destination.store.models import Status
from prosperstack_destination.store.rollups import Rollup

#: Window that measures the pace, in microseconds. A younger backlog is estimated by the rate limit.
LOOK_BACK: Final = 10 * MINUTE
#: Least measured pace that counts, as a part of the rate limit. Below it ProsperStack is down, or delivery just
#: began.
MIN_PACE: Final = 0.2
#: Requests needed to measure the success rate, and the success rate below which there is no estimate.
MIN_REQUESTS: Final = 5
MIN_SUCCESS: Final = 0.2
#: Settled profiles needed to measure which part of them needs an update.
MIN_SETTLED: Final = 50


@dataclass(frozen=True, slots=True)
class Eta:
    """Remaining requests, and the time that they take."""

    #: Requests left: to find subscribers, and to write.
    lookups: int
    updates: int
    #: Seconds from now.
    seconds: float
    #: The estimate is an upper bound: how many people are subscribers, or differ, is not known yet.
    at_most: bool

    @property
    def requests(self) -> int:
        """Number of requests left."""
        return self.lookups + self.updates


def estimate(
    waiting: Mapping[Status, int],
    directory: ListingState,
    rate: Rate,
    since_begin: Rollup,
    recent: Rollup,
    *,
    begun_at: int,
    now: int,
) -> Eta | None:
    """Estimate when the waiting profiles are settled; None: none waits, or nearly all requests fail.

    ``since_begin`` counts since the backlog began (``begun_at``), ``recent`` over the last `LOOK_BACK`. Failed
    requests do not count. Times are in microseconds.
    """
    unknown = waiting.get(Status.UNKNOWN, 0) + waiting.get(Status.PENDING, 0)
    ready = waiting.get(Status.READY, 0)
    if not (unknown or ready):
        return None
    has_ratio = since_begin.settled >= MIN_SETTLED
    updates = ready + math.ceil(unknown * (since_begin.delivered / since_begin.settled if has_ratio else 1.0))
    lookups = min(unknown, _pages_left(directory, unknown))
    success = 1.0
    if recent.requests >= MIN_REQUESTS:
        success = 1 - recent.failed / recent.requests
        if success < MIN_SUCCESS:
            return None
    seconds = (lookups + updates) / (_per_second(rate, recent, now - begun_at) * success)
    return Eta(lookups, updates, seconds, at_most=bool(unknown) and not has_ratio)


def _pages_left(directory: ListingState, unknown: int) -> int:
    """Return the requests that a listing still needs; the number of lookups if the listing's size is unknown."""
    if directory.size is None:
        return unknown
    pages = math.ceil(directory.size / PAGE)
    return max(pages - directory.pages, 1) if directory.in_progress and directory.since is None else pages


def _per_second(rate: Rate, recent: Rollup, age: int) -> float:
    """Return the recent pace, in requests a second, if it is meaningful; else the pace that the limit allows."""
    if age < LOOK_BACK:
        return rate.per_second
    pace = recent.requests / (LOOK_BACK / SECOND)
    return pace if rate.per_second * MIN_PACE <= pace < rate.per_second else rate.per_second
