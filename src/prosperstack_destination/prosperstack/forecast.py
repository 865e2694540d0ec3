"""Estimates of requests and time."""

import math
from dataclasses import dataclass
from typing import Final

#: Subscribers in one response of a listing.
PAGE: Final = 100
#: ProsperStack's documented limit, for accounts whose own was not reported yet: requests, and the window in
#: seconds.
DEFAULT_LIMIT: Final = 100
DEFAULT_WINDOW_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Rate:
    """Rate limit of an account."""

    #: Requests per window, and its length in seconds.
    limit: int
    window_seconds: float
    #: Share that is left for the account's owner.
    reserve: float

    @property
    def per_second(self) -> float:
        """Requests of ours per second on average; at least one per window."""
        ours = max(self.limit - math.ceil(self.limit * self.reserve), 1)
        return ours / self.window_seconds


@dataclass(frozen=True, slots=True)
class Forecast:
    """Cost of bringing people's properties to ProsperStack."""

    #: Requests to find the subscribers: a listing or lookups, whichever is cheaper.
    lookups: int
    #: Requests to write: one for each subscriber that differs.
    updates: int
    #: Duration, in seconds.
    seconds: float

    @property
    def requests(self) -> int:
        """All requests."""
        return self.lookups + self.updates


def forecast(people: int, rate: Rate, *, matching: int, subscribers: int | None) -> Forecast:
    """Return the cost for a number of people, ``matching`` of which are subscribers that differ.

    ``subscribers`` is the number of subscribers of the account; None: unknown, all people are looked up. At most
    that many are written.
    """
    listing = math.inf if subscribers is None else math.ceil(subscribers / PAGE)
    matching = matching if subscribers is None else min(matching, subscribers)
    lookups = int(min(people, listing))
    return Forecast(lookups, matching, (lookups + matching) / rate.per_second)


def naive_seconds(calls: int, rate: Rate) -> float:
    """Return the time of a plain forwarder, with a lookup and an update for each call, in seconds."""
    return 2 * calls / rate.per_second
