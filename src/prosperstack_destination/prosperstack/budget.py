"""The request budget of one account, as ProsperStack's answers tell it.

Every answer carries ``RateLimit-Limit`` (requests a window), ``RateLimit-Remaining`` and ``RateLimit-Reset``
(seconds until the window resets). Nothing about the limit is known beforehand: the owner of the account, and
other tools of theirs, spend from the same window, so the headers are followed and never a count of our own.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from prosperstack_destination.clock import SECOND

#: Between two requests while no answer has told a budget: be careful, in microseconds.
UNTOLD_INTERVAL: Final = 1 * SECOND
#: A window is taken to be at most this long, whatever a header says, in seconds.
LONGEST_WINDOW_SECONDS: Final = 3_600.0
#: What is waited after a 429 that names no time, in seconds.
UNTOLD_RESET_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class RateLimit:
    """What the headers of one answer say."""

    limit: int
    remaining: int
    #: Until the window resets, in seconds.
    reset_seconds: float

    @classmethod
    def from_headers(cls, headers: Mapping[str, str]) -> "RateLimit | None":
        """Read the three headers; None where any of them is missing or absurd."""
        limit = _number(headers.get("RateLimit-Limit"))
        remaining = _number(headers.get("RateLimit-Remaining"))
        reset = _number(headers.get("RateLimit-Reset"))
        if limit is None or remaining is None or reset is None or limit < 1:
            return None
        return cls(int(limit), min(int(remaining), int(limit)), min(reset, LONGEST_WINDOW_SECONDS))


@dataclass(frozen=True, slots=True)
class Budget:
    """What may still be spent, and when there is more. Immutable: each event gives the next one."""

    #: The part of every window that is left for the account's owner.
    reserve: float
    #: As told by the newest answer; None: no answer has told it.
    told: RateLimit | None = None
    #: When the told window ends, in microseconds.
    resets_at: int = 0
    #: Requests sent since that answer came.
    spent: int = 0
    #: Nothing is sent before this, in microseconds.
    not_before: int = 0

    def wait(self, now: int) -> int:
        """How long to wait before the next request, in microseconds; 0: it may go now."""
        wait = max(self.not_before - now, 0)
        if self.told is None or now >= self.resets_at:
            return wait
        # A reserve that is the whole limit would stop everything for ever: one request a window always goes.
        kept = min(math.ceil(self.told.limit * self.reserve), self.told.limit - 1)
        return wait if self.told.remaining - self.spent > kept else max(wait, self.resets_at - now)

    def sent(self, now: int) -> "Budget":
        """After a request has gone."""
        if self.told is None:
            return replace(self, not_before=now + UNTOLD_INTERVAL)
        if now >= self.resets_at:  # the told window is over: the next answer tells of the new one
            return replace(self, told=None, spent=0, not_before=now + UNTOLD_INTERVAL)
        return replace(self, spent=self.spent + 1)

    def answered(self, rate_limit: RateLimit | None, now: int) -> "Budget":
        """After an answer, with what its headers said."""
        if rate_limit is None:
            return self
        return replace(
            self,
            told=rate_limit,
            resets_at=now + int(rate_limit.reset_seconds * SECOND),
            spent=0,
            not_before=0,
        )

    def refused(self, retry_after: float | None, now: int) -> "Budget":
        """After a 429: nothing goes before the time that it named (seconds)."""
        seconds = UNTOLD_RESET_SECONDS if retry_after is None else min(retry_after, LONGEST_WINDOW_SECONDS)
        return replace(self, not_before=now + max(int(seconds * SECOND), UNTOLD_INTERVAL))


def _number(text: str | None) -> float | None:
    """A header's number, None where it is missing, negative, or none."""
    if text is None:
        return None
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None
