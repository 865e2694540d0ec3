"""How many requests something costs, and how long they take: arithmetic for people who plan."""

import math
from dataclasses import dataclass
from typing import Final

#: Subscribers in one answer of a listing.
PAGE: Final = 100
#: What ProsperStack documents, where an account's own limit was not told yet: requests, and a window in seconds.
DEFAULT_LIMIT: Final = 100
DEFAULT_WINDOW_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Rate:
    """What an account may spend."""

    #: Requests of a window, and its length in seconds.
    limit: int
    window_seconds: float
    #: The part that is left for the account's owner.
    reserve: float

    @property
    def per_second(self) -> float:
        """Requests that we may spend in a second, on the average; one a window goes always."""
        ours = max(self.limit - math.ceil(self.limit * self.reserve), 1)
        return ours / self.window_seconds


@dataclass(frozen=True, slots=True)
class Forecast:
    """What it costs to bring people's properties to ProsperStack."""

    #: Requests to learn which subscribers they are: by a listing, or one by one, whichever is cheaper.
    lookups: int
    #: Requests to write: one for each subscriber that differs.
    updates: int
    #: How long they take, in seconds.
    seconds: float

    @property
    def requests(self) -> int:
        """All of them."""
        return self.lookups + self.updates


def forecast(people: int, rate: Rate, *, matching: int, subscribers: int | None) -> Forecast:
    """What so many people cost of whom ``matching`` are subscribers that differ from what is there.

    ``subscribers`` is how many the account has in all; None: not known, and everybody is looked up. No more people
    than that are written.
    """
    listing = math.inf if subscribers is None else math.ceil(subscribers / PAGE)
    matching = matching if subscribers is None else min(matching, subscribers)
    to_learn = int(min(people, listing))
    return Forecast(to_learn, matching, (to_learn + matching) / rate.per_second)


def naive_seconds(calls: int, rate: Rate) -> float:
    """What a plain forwarder takes for as many calls: a look-up and an update each, in seconds."""
    return 2 * calls / rate.per_second
