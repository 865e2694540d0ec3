"""The fixed-window rate limit, and the headers that tell of it."""

import math


class FixedWindow:
    """So many requests a window. A window begins with the first request after the one before has ended."""

    def __init__(self, limit: int, window_seconds: float) -> None:
        self.limit = limit
        self.window_seconds = window_seconds
        self._ends_at = -math.inf
        self._used = 0

    def take(self, now: float) -> bool:
        """Count a request at a time (seconds); False: it is one too many."""
        if now >= self._ends_at:
            self._ends_at = now + self.window_seconds
            self._used = 0
        if self._used >= self.limit:
            return False
        self._used += 1
        return True

    def headers(self, now: float) -> dict[str, str]:
        """What is told with every answer; the reset is in whole seconds, rounded up.

        ``now`` is that of the `take` the answer belongs to.
        """
        # (now + window) - now can come out a trifle over the window, which would round up to a second more.
        left = min(self._ends_at - now, self.window_seconds)
        return {
            "RateLimit-Limit": str(self.limit),
            "RateLimit-Remaining": str(self.limit - self._used),
            "RateLimit-Reset": str(max(0, math.ceil(left))),
        }
