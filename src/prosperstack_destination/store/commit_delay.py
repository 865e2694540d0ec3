"""How long a transaction waits for more calls, by their rate of arrival: PostgreSQL's ``commit_delay``."""

import math
from typing import Final

#: The longest wait, in seconds. At 1,500 calls a second it halves what a call costs; none notices it.
MAX_DELAY_SECONDS: Final = 0.002
#: The rate is an average over about so long, in seconds.
AVERAGED_SECONDS: Final = 0.1
#: After waits in vain so many transactions at the most go without one: a sender that waits for each of its answers
#: sends nothing meanwhile, however fast it is.
MAX_SKIPPED: Final = 64


class CommitDelay:
    """The policy: a rare call waits for nothing, and calls that arrive fast share transactions.

    Times are of a monotonic clock, in seconds.
    """

    def __init__(self) -> None:
        self._per_second = 0.0
        self._at: float | None = None
        #: Transactions that still go without a wait, and how many did after the last wait in vain.
        self._to_skip = self._skipped = 0

    def seconds(self, waiting: int, now: float) -> float:
        """Return how long the transaction of ``waiting`` calls is to wait.

        It waits where as many calls again, and at least one, should arrive meanwhile.
        """
        if self._at is None:
            return 0.0
        expected = self._per_second * math.exp((self._at - now) / AVERAGED_SECONDS) * MAX_DELAY_SECONDS
        if expected < max(waiting, 1):
            return 0.0
        if self._to_skip:
            self._to_skip -= 1
            return 0.0
        return MAX_DELAY_SECONDS

    def waited(self, gained: int) -> None:
        """Note that a wait ended, and how many calls arrived in it."""
        self._skipped = 0 if gained else min(max(2 * self._skipped, 1), MAX_SKIPPED)
        self._to_skip = self._skipped

    def began(self, calls: int, now: float) -> None:
        """Note that a transaction of so many calls begins."""
        if self._at is not None and now > self._at:
            passed = now - self._at
            kept = math.exp(-passed / AVERAGED_SECONDS)
            self._per_second = self._per_second * kept + calls / passed * (1 - kept)
        self._at = now
