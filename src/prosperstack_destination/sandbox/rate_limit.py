"""Fixed-window rate limit and its headers."""

import math


class FixedWindow:
    """Limit of requests in a window. A window begins with the first request after the end of the previous one."""

    def __init__(self, limit: int, window_seconds: float) -> None:
        self.limit = limit
        self.window_seconds = window_seconds
        self._ends_at = -math.inf
        self._used = 0

    def take(self, now: float) -> bool:
        """Count a request at ``now`` (seconds); return False if it exceeds the limit."""
        if now >= self._ends_at:
            self._ends_at = now + self.window_seconds
            self._used = 0
        if self._used >= self.limit:
            return False
        self._used += 1
        return True

    def headers(self, now: float) -> dict[str, str]:
        """Return the headers of a response; the reset is in whole seconds, rounded up.

        ``now`` is the time of the `take` of its request.
        """
        # Floating point: (now + window) - now may exceed the window, and would round up to one second more.
        left = min(self._ends_at - now, self.window_seconds)
        return {
            "RateLimit-Limit": str(self.limit),
            "RateLimit-Remaining": str(self.limit - self._used),
            "RateLimit-Reset": str(max(0, math.ceil(left))),
        }
