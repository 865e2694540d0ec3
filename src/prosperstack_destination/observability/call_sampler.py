"""Which calls people get to see, where more come in than they could look at."""

from collections.abc import Mapping
from typing import Final

from prosperstack_destination.clock import SECOND, Clock
from prosperstack_destination.store.recent_calls import CallOutcome

#: Calls that are taken of those that were taken in, that nothing had to be done for, and that were refused: so many
#: a second of a process. What is wrong is not to be crowded out by what is right.
ACCEPTED_PER_SECOND: Final = 10
IGNORED_PER_SECOND: Final = 5
REFUSED_PER_SECOND: Final = 5
#: So many seconds' worth may be taken at once: few calls, or a small batch, are seen whole.
BURST_SECONDS: Final = 20


class TokenBucket:
    """So many a second, of which nobody takes all. Pure but for what was taken; ``now`` is in microseconds.

    Once half of what may be taken at once is gone, each account gets one a second: what is left is for others.
    """

    def __init__(self, per_second: int) -> None:
        self._per_second = per_second
        self._most = per_second * BURST_SECONDS
        self._left = float(self._most)
        self._at: int | None = None
        self._second = 0
        #: Who had one in that second.
        self._had: set[str] = set()

    def take(self, account_id: str, now: int) -> bool:
        """Take one for an account, if there is one for it."""
        if self._at is not None:
            gained = max(now - self._at, 0) * self._per_second / SECOND
            self._left = min(self._left + gained, self._most)
        self._at = now
        if self._left < 1:
            return False
        if now // SECOND != self._second:
            self._second = now // SECOND
            self._had.clear()
        if self._left * 2 <= self._most and account_id in self._had:
            return False
        self._had.add(account_id)
        self._left -= 1
        return True


class CallSampler:
    """Says of each call whether there is room for it. ``ticks`` is a clock that is never set back."""

    def __init__(self, ticks: Clock) -> None:
        self._ticks = ticks
        taken, passed, refused = map(TokenBucket, (ACCEPTED_PER_SECOND, IGNORED_PER_SECOND, REFUSED_PER_SECOND))
        self._allowances: Mapping[CallOutcome, TokenBucket] = {
            CallOutcome.ACCEPTED: taken,
            CallOutcome.HELD: taken,
            CallOutcome.ERASED: taken,
            CallOutcome.EXPLAINED: taken,
            CallOutcome.OUTDATED: passed,
            CallOutcome.SKIPPED: passed,
            CallOutcome.IGNORED: passed,
            CallOutcome.REFUSED: refused,
            CallOutcome.LATER: refused,
        }

    def should_sample(self, account_id: str, outcome: CallOutcome) -> bool:
        """Whether there is room for one more of an account's calls, which is then taken."""
        return self._allowances[outcome].take(account_id, self._ticks())
