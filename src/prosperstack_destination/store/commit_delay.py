"""Wait of a transaction for more calls, by their arrival rate, as PostgreSQL's ``commit_delay``."""

import math
from typing import Final

#: Longest wait, in seconds. At 1,500 calls a second it halves the cost of a call; senders do not notice it.
MAX_DELAY_SECONDS: Final = 0.002
#: Time constant of the averaged arrival rate, in seconds.
RATE_WINDOW_SECONDS: Final = 0.1
#: Maximum number of transactions without a wait after waits in vain. A sender that waits for each response sends
#: nothing in the meantime, however fast it is.
MAX_SKIPPED: Final = 64


class CommitDelay:
    """Delay policy: a rare call does not wait, and calls that arrive fast share transactions.

    Times are of a monotonic clock, in seconds.
    """

    def __init__(self) -> None:
        self._per_second = 0.0
        self._at: float | None = None
        #: Remaining transactions without a wait, and their number after the last wait in vain.
        self._to_skip = self._skipped = 0

    def seconds(self, waiting: int, now: float) -> float:
        """Return the wait for a transaction of ``waiting`` calls, in seconds.

        It waits if at least as many calls, and at least one, should arrive in that time.
        """
        if self._at is None:
            return 0.0
        expected = self._per_second * math.exp((self._at - now) / RATE_WINDOW_SECONDS) * MAX_DELAY_SECONDS
        if expected < max(waiting, 1):
            return 0.0
        if self._to_skip:
            self._to_skip -= 1
            return 0.0
        return MAX_DELAY_SECONDS

    def record_wait(self, arrived: int) -> None:
        """Record that a wait ended, and the number of calls that arrived in it."""
        self._skipped = 0 if arrived else min(max(2 * self._skipped, 1), MAX_SKIPPED)
        self._to_skip = self._skipped

    def record_start(self, calls: int, now: float) -> None:
        """Record the start of a transaction of ``calls`` calls."""
        if self._at is not None and now > self._at:
            passed = now - self._at
            kept = math.exp(-passed / RATE_WINDOW_SECONDS)
            self._per_second = self._per_second * kept + calls / passed * (1 - kept)
        self._at = now
