"""Backoff after failures of ProsperStack: the length of waits, and when a whole account waits.

A profile whose requests fail is retried alone, at growing intervals, and the others continue. The account backs off
where requests of one kind fail for several profiles in a row. It works again when a request of that kind succeeds;
a success of another kind, such as listing the properties, does not count.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

#: First and longest wait, in seconds.
FIRST_SECONDS: Final = 1.0
LONGEST_SECONDS: Final = 60.0
#: From this many failures on, one profile waits up to the longer time, in seconds.
MANY_FAILURES: Final = 12
LONGEST_OF_PERSON_SECONDS: Final = 600.0
#: Longest Retry-After that is followed, in seconds.
MAX_RETRY_AFTER_SECONDS: Final = 300.0


def backoff_seconds(
    failures: int,
    retry_after: float | None = None,
    jitter: Callable[[], float] = random.random,
    longest: float = LONGEST_SECONDS,
) -> float:
    """Return the wait after ``failures`` failures (from 1): half to all of 1, 2, 4, … 60 s, at random.

    The jitter spreads accounts out. ``retry_after`` is a lower bound, up to 300 s. ``jitter`` returns a number in
    [0, 1). ``longest`` caps the wait where an attempt costs little.
    """
    ceiling = min(FIRST_SECONDS * 2 ** min(failures - 1, 30), longest)
    wait: float = ceiling * (0.5 + 0.5 * jitter())
    return max(wait, min(retry_after or 0.0, MAX_RETRY_AFTER_SECONDS))


def person_backoff_seconds(failures: int, jitter: Callable[[], float] = random.random) -> float:
    """Return the wait of one profile or subscriber, as `backoff_seconds`; up to 10 min from the 12th failure on.

    Requests that never succeed must not use up the budget of all others.
    """
    longest = LONGEST_OF_PERSON_SECONDS if failures >= MANY_FAILURES else LONGEST_SECONDS
    return backoff_seconds(failures, jitter=jitter, longest=longest)


#: Failures in a row, each for another profile, that make the account back off.
MAX_STREAK: Final = 3


@dataclass(slots=True)
class _Streak:
    """Failures of one kind of request since one succeeded."""

    requests: int = 0
    #: Profiles and subscribers that failed for the first time, and failures of requests that are for none.
    subjects: set[str] = field(default_factory=set)
    others: int = 0

    @property
    def is_long(self) -> bool:
        return len(self.subjects) + self.others >= MAX_STREAK


@dataclass(slots=True)
class FailureStreaks:
    """Failures of one account since requests of their kinds succeeded."""

    #: Kinds of requests that made the account back off and have not succeeded since.
    broken: set[str] = field(default_factory=set)
    _streaks: dict[str, _Streak] = field(default_factory=dict)

    def failed(self, kind: str, subject: str | None, attempts: int) -> None:
        """Count a failed request.

        ``subject`` is the profile or subscriber that it was for. After `MAX_STREAK` failures in a row
        (``attempts``) a subject does not count again: it fails alone.
        """
        streak = self._streaks.setdefault(kind, _Streak())
        streak.requests += 1
        if subject is None:
            streak.others += 1
        elif attempts < MAX_STREAK:
            streak.subjects.add(subject)
        if streak.is_long:
            self.broken.add(kind)

    def refused(self, kind: str) -> None:
        """Count a kind of request that stays rate limited, or that the key may not send."""
        self.broken.add(kind)
        self._streaks.setdefault(kind, _Streak()).others += MAX_STREAK

    def succeeded(self, kind: str) -> None:
        """Reset a kind of request after a success."""
        self._streaks.pop(kind, None)
        self.broken.discard(kind)

    @property
    def must_wait(self) -> bool:
        """True where the account has to back off."""
        return any(streak.is_long for streak in self._streaks.values())

    @property
    def needs_probe(self) -> bool:
        """True where few profiles failed, but often: a probe has to show that ProsperStack answers."""
        return any(streak.requests >= MAX_STREAK for streak in self._streaks.values())

    def probe_succeeded(self) -> None:
        """Reset the counts of requests: a probe showed that ProsperStack answers."""
        for streak in self._streaks.values():
            streak.requests = 0

    def start_retry(self) -> None:
        """Let the account try again: one more failure of a broken kind makes it back off again."""
        for kind, streak in self._streaks.items():
            streak.requests = 0
            streak.subjects = set()
            streak.others = MAX_STREAK - 1 if kind in self.broken else 0

    def reset(self) -> None:
        """Forget all failures."""
        self._streaks.clear()
        self.broken.clear()
