"""When what waits will be in ProsperStack: arithmetic for people who watch."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from prosperstack_destination.clock import MINUTE, SECOND
from prosperstack_destination.prosperstack.forecast import PAGE, Rate
from prosperstack_destination.store.listing_state import ListingState
from prosperstack_destination.store.models import Status
from prosperstack_destination.store.rollups import Rollup

#: How fast it goes is told by the last of these, in microseconds, once the backlog is as old.
LOOK_BACK: Final = 10 * MINUTE
#: A pace this much below what the limit allows is no pace: ProsperStack is down, or it has just begun.
LEAST_PACE: Final = 0.2
#: Of so many requests it can be told what part succeeds; where it is less than this there is no telling.
ENOUGH_REQUESTS: Final = 5
LEAST_SUCCESS: Final = 0.2
#: Of so many settled profiles it can be told what part of people need an update.
ENOUGH_SETTLED: Final = 50


@dataclass(frozen=True, slots=True)
class Eta:
    """What is left to do, and how long it takes."""

    #: Requests: to learn who the people are, and to write.
    to_learn: int
    to_write: int
    #: In seconds, from now.
    seconds: float
    #: It may well be sooner: how many of them are subscribers, or differ, is not known yet.
    at_most: bool

    @property
    def requests(self) -> int:
        """All of them."""
        return self.to_learn + self.to_write


def estimate(
    waiting: Mapping[Status, int],
    directory: ListingState,
    rate: Rate,
    stretch: Rollup,
    recent: Rollup,
    *,
    begun_at: int,
    now: int,
) -> Eta | None:
    """When the profiles that wait will be settled; None: none waits, or nearly all requests fail.

    ``stretch`` is what happened since the backlog began (``begun_at``), ``recent`` what happened in the last
    `LOOK_BACK`. Requests that fail count for nothing. Times are in microseconds.
    """
    unlearned = waiting.get(Status.UNKNOWN, 0) + waiting.get(Status.PENDING, 0)
    ready = waiting.get(Status.READY, 0)
    if not (unlearned or ready):
        return None
    known = stretch.settled >= ENOUGH_SETTLED
    to_write = ready + math.ceil(unlearned * (stretch.delivered / stretch.settled if known else 1.0))
    to_learn = min(unlearned, _pages_left(directory, unlearned))
    succeed = 1.0
    if recent.requests >= ENOUGH_REQUESTS:
        succeed = 1 - recent.failed / recent.requests
        if succeed < LEAST_SUCCESS:
            return None
    seconds = (to_learn + to_write) / (_per_second(rate, recent, now - begun_at) * succeed)
    return Eta(to_learn, to_write, seconds, at_most=bool(unlearned) and not known)


def _pages_left(directory: ListingState, unlearned: int) -> int:
    """Requests that a listing still takes; as many as look-ups where its end is not in sight."""
    if directory.size is None:
        return unlearned
    pages = math.ceil(directory.size / PAGE)
    return max(pages - directory.pages, 1) if directory.in_progress and directory.since is None else pages


def _per_second(rate: Rate, recent: Rollup, age: int) -> float:
    """Requests a second: as many as lately, where that says anything; else as many as the limit allows."""
    if age < LOOK_BACK:
        return rate.per_second
    lately = recent.requests / (LOOK_BACK / SECOND)
    return lately if rate.per_second * LEAST_PACE <= lately < rate.per_second else rate.per_second
