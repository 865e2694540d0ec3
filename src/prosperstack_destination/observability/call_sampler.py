"""Sampler of recent calls: a rate limit per outcome, with a share for each account."""

from collections.abc import Mapping
from typing import Final

from prosperstack_destination.clock import SECOND, Clock
from prosperstack_destination.store.recent_calls import CallOutcome

#: Sampled calls per second of a process: accepted ones, ones without effect, and rejected ones. Separate limits
#: keep accepted calls from crowding out rejected ones.
ACCEPTED_PER_SECOND: Final = 10
IGNORED_PER_SECOND: Final = 5
REFUSED_PER_SECOND: Final = 5
#: Size of a bucket, in seconds of its rate: a few calls, or a small batch, are sampled completely.
BURST_SECONDS: Final = 20


class TokenBucket:
    """Token bucket with ``per_second`` tokens, which no account can empty alone.

    While less than half of the bucket is left, each account gets one token a second.
    """

    def __init__(self, per_second: int) -> None:
        self._per_second = per_second
        self._most = per_second * BURST_SECONDS
        self._left = float(self._most)
        self._at: int | None = None
        self._second = 0
        #: Accounts with a token in that second.
        self._served: set[str] = set()

    def take(self, account_id: str, now: int) -> bool:
        """Take a token for an account at ``now`` (microseconds); return False where there is none for it."""
        if self._at is not None:
            gained = max(now - self._at, 0) * self._per_second / SECOND
            self._left = min(self._left + gained, self._most)
        self._at = now
        if self._left < 1:
            return False
        if now // SECOND != self._second:
            self._second = now // SECOND
            self._served.clear()
        if self._left * 2 <= self._most and account_id in self._served:
            return False
        self._served.add(account_id)
        self._left -= 1
        return True


class CallSampler:
    """Sampler of calls. ``ticks`` is a monotonic clock in microseconds."""

    def __init__(self, ticks: Clock) -> None:
        self._ticks = ticks
        accepted, ignored, rejected = map(
            TokenBucket, (ACCEPTED_PER_SECOND, IGNORED_PER_SECOND, REFUSED_PER_SECOND)
        )
        self._buckets: Mapping[CallOutcome, TokenBucket] = {
            CallOutcome.ACCEPTED: accepted,
            CallOutcome.HELD: accepted,
            CallOutcome.ERASED: accepted,
            CallOutcome.EXPLAINED: accepted,
            CallOutcome.OUTDATED: ignored,
            CallOutcome.SKIPPED: ignored,
            CallOutcome.IGNORED: ignored,
            CallOutcome.REFUSED: rejected,
            CallOutcome.LATER: rejected,
        }

    def should_sample(self, account_id: str, outcome: CallOutcome) -> bool:
        """Return whether to record one more call of an account; True takes a token."""
        return self._buckets[outcome].take(account_id, self._ticks())
