"""Requests that fail one after the other, by kind: they decide when a whole account waits.

One person whose requests fail is tried again alone, ever more rarely, and the others go on. The account waits where
requests of one kind fail for several people in a row. It works again when a request of that kind succeeds: another
kind that succeeds, as listing the properties, says nothing about it.
"""

from dataclasses import dataclass, field
from typing import Final

#: So many have to fail in a row for the account to wait, each for another person.
TOLERATED: Final = 3


@dataclass(slots=True)
class _Streak:
    """Requests of one kind that failed since one succeeded."""

    requests: int = 0
    #: People and subscribers that failed for the first time, and requests that are about none.
    who: set[str] = field(default_factory=set)
    others: int = 0

    @property
    def is_long(self) -> bool:
        return len(self.who) + self.others >= TOLERATED


@dataclass(slots=True)
class FailureStreaks:
    """The failures of one account since requests of their kinds succeeded."""

    #: Kinds of requests that made the account wait, and have not succeeded since.
    broken: set[str] = field(default_factory=set)
    _streaks: dict[str, _Streak] = field(default_factory=dict)

    def failed(self, kind: str, subject: str | None, attempts: int) -> None:
        """Count a request that failed.

        ``who`` is the person or the subscriber that it is about. One who failed often before (``attempts``) does
        not count again: they fail alone.
        """
        streak = self._streaks.setdefault(kind, _Streak())
        streak.requests += 1
        if subject is None:
            streak.others += 1
        elif attempts < TOLERATED:
            streak.who.add(subject)
        if streak.is_long:
            self.broken.add(kind)

    def refused(self, kind: str) -> None:
        """The rate limit refuses a kind of request however long it waits, or the key may not send it."""
        self.broken.add(kind)
        self._streaks.setdefault(kind, _Streak()).others += TOLERATED

    def succeeded(self, kind: str) -> None:
        """A request of this kind succeeded."""
        self._streaks.pop(kind, None)
        self.broken.discard(kind)

    @property
    def must_wait(self) -> bool:
        """Whether the account has to wait."""
        return any(streak.is_long for streak in self._streaks.values())

    @property
    def needs_probe(self) -> bool:
        """Whether few people have failed, but often: it has to be asked whether ProsperStack answers at all."""
        return any(streak.requests >= TOLERATED for streak in self._streaks.values())

    def probe_succeeded(self) -> None:
        """ProsperStack was asked, and answers."""
        for streak in self._streaks.values():
            streak.requests = 0

    def start_retry(self) -> None:
        """The account has waited: one more failure of a kind that is broken makes it wait again."""
        for kind, streak in self._streaks.items():
            streak.requests = 0
            streak.who = set()
            streak.others = TOLERATED - 1 if kind in self.broken else 0

    def reset(self) -> None:
        """Nothing is left that failed."""
        self._streaks.clear()
        self.broken.clear()
