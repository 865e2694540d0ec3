"""The request budget of one account, as ProsperStack's answers tell it.

Every answer carries ``RateLimit-Limit`` (requests a window), ``RateLimit-Remaining`` and ``RateLimit-Reset``
(seconds until the window resets). Nothing about the limit is known beforehand: the owner of the account, and
other tools of theirs, spend from the same window, so the headers are followed. A count of our own only fills in
for the requests whose answers are not here yet, since requests overlap.

Times are ticks of a monotonic clock, in microseconds: a wall clock that jumps changes nothing.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from prosperstack_destination.clock import SECOND
from prosperstack_destination.storable import MAX_INT32

#: Between two requests while no answer has told a budget: be careful, in microseconds.
DEFAULT_INTERVAL: Final = 1 * SECOND
#: A window is taken to be at most this long, whatever a header says, in seconds.
LONGEST_WINDOW_SECONDS: Final = 3_600.0
#: What is waited after a 429 that names no time, in seconds; doubled while 429s go on.
DEFAULT_RESET_SECONDS: Final = 10.0
#: Added to what is told of a window's end, in microseconds: a request a trifle early counts in the window before.
GUARD: Final = SECOND // 1000
#: The last part of a window that pacing leaves free, for what an event loop and a network add to each wait.
SLACK: Final = 0.03
#: How much of what others spent before still counts, where they spend less now; more counts at once.
OTHERS_DECAY: Final = 0.8


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
        most = min(int(limit), MAX_INT32)
        return cls(most, min(int(remaining), most), min(reset, LONGEST_WINDOW_SECONDS))


@dataclass(frozen=True, slots=True)
class Window:
    """One window of the limit, as far as it is known."""

    limit: int
    began_at: int
    #: The earliest end that any answer allows: resets come in whole seconds, rounded up.
    ends_at: int
    #: What was spent of it before our first request; nobody knows by whom.
    base: int = 0
    #: Requests of ours that went in it.
    sent: int = 0
    #: Requests of others, by the answer to the newest of ours that was answered.
    others_spent: int = 0
    #: Which of ours that was, and how many requests of anybody's it was told of.
    newest: int = 0
    used: int = 0
    #: Whether any answer has told of it; otherwise it is the window before, expected again.
    reported: bool = False


@dataclass(frozen=True, slots=True)
class Ticket:
    """Which request of which window an answer belongs to; given out by `Budget.sent`."""

    #: When its window began; -1: there was none.
    window: int
    #: Counted from 1 in the window.
    number: int
    sent_at: int


@dataclass(frozen=True, slots=True)
class Budget:
    """What may still be spent, and when there is more. Immutable: each event gives the next one."""

    #: The part of every window that is left for the account's owner; what they spend counts towards it.
    reserve: float
    #: None: no answer has told of one.
    window: Window | None = None
    #: How long windows are, by the longest reset that was told, in microseconds.
    length: int = 0
    #: How many requests others spend in a window: at once where it grows, slowly where it falls.
    others_spent: float = 0.0
    #: How many requests of anybody's the window before had in the end.
    used_before: int = 0
    #: When the latest request went; None: none did.
    sent_at: int | None = None
    #: Requests whose answers are not here yet.
    in_flight: int = 0
    #: 429s in a row, and until when they let nothing go.
    refusals: int = 0
    not_before: int = 0

    @property
    def interval(self) -> int:
        """The mean time between two requests at full speed, in microseconds; `DEFAULT_INTERVAL` while untold."""
        if self.window is None or not self.length:
            return DEFAULT_INTERVAL
        usable = self.window.limit - max(math.ceil(self.window.limit * self.reserve), math.ceil(self.others_spent))
        return max(self.length // max(usable, 1), 1)

    def wait(self, now: int, *, urgent: bool = False) -> int:
        """How long to wait before the next request, in microseconds; 0: it may go now.

        Requests are spread over what is left of a window, so that it is neither burnt at its beginning nor left
        unused at its end. An urgent one goes as soon as the budget has one left.
        """
        wait = max(self.not_before - now, 0)
        window = self._window(now)
        if window is None:
            spaced = 0 if self.sent_at is None else self.sent_at + DEFAULT_INTERVAL - now
            return max(wait, spaced, 0)
        rest = max(window.ends_at - now, 1)
        free = window.limit - window.base - window.others_spent - window.sent
        owners = min(math.ceil(window.limit * self.reserve), window.limit - 1) - window.others_spent
        if free <= max(owners, 0):
            return max(wait, rest)
        left = free - max(owners, self._expected(window, now))
        if left <= 0 and window.sent:  # what others are expected to spend shrinks as the window passes
            return max(wait, min(rest, max(self.length // 60, 1)))
        # The first request of a window goes, whatever was spent before: or nobody would learn that others stopped.
        return wait if urgent else max(wait, self._spread(window, left, now))

    def sent(self, now: int) -> "Budget":
        """After a request has gone; its `ticket` goes with its answer."""
        window = self._window(now)
        budget = replace(self, sent_at=now, in_flight=self.in_flight + 1)
        if window is None:
            return replace(budget, window=None)
        if self.window is not None and window is not self.window:
            over = self.window
            others = max(over.others_spent, OTHERS_DECAY * self.others_spent)
            budget = replace(budget, others_spent=others, used_before=over.base + over.others_spent + over.sent)
        return replace(budget, window=replace(window, sent=window.sent + 1))

    @property
    def ticket(self) -> Ticket:
        """What the answer to the request that was sent last has to be told with."""
        sent_at = self.sent_at or 0
        if self.window is None:
            return Ticket(-1, 1, sent_at)
        return Ticket(self.window.began_at, self.window.sent, sent_at)

    def answered(self, ticket: Ticket, reported: RateLimit | None, now: int) -> "Budget":
        """After the answer to a request, with what its headers said; None also where no answer came."""
        budget = replace(self, in_flight=max(self.in_flight - 1, 0))
        if reported is None:
            return budget
        reset = max(int((reported.reset_seconds or 1.0) * SECOND), 1)  # 0 is "within this second"
        served_at = (ticket.sent_at + now) // 2
        until = served_at + reset + GUARD
        if reported.remaining:
            budget = replace(budget, refusals=0)
        used = reported.limit - reported.remaining
        window = budget.window
        if window is None or window.limit != reported.limit:
            first = Window(
                reported.limit, served_at, until, base=used - 1, sent=1, newest=1, used=used, reported=True
            )
            return replace(budget, window=first, length=reset)
        if ticket.window != window.began_at:
            return budget  # it tells of a window that is over
        # Its length is the longest reset, but an absurd one is forgotten in the windows that follow.
        budget = replace(budget, length=max(reset, self.length if window.reported else self.length // 2))
        if ticket.number <= window.newest:
            return replace(budget, window=replace(window, ends_at=min(window.ends_at, until), reported=True))
        if used < window.used:  # the next window began with this request, or shortly before
            since = window.sent - ticket.number
            began = Window(reported.limit, served_at, served_at + budget.length + GUARD, base=used, sent=since)
            return replace(budget, window=replace(began, newest=since, used=used, reported=True))
        if not window.reported:  # when it ends was a guess, by windows that may have been met in their middle
            window = replace(window, base=max(used - ticket.number, 0), ends_at=until)
            if self._goes_on(window, ticket, used, until):
                soon = now + max(now - ticket.sent_at, 10 * GUARD)
                window = replace(window, ends_at=min(until, soon))
        others = max(used - window.base - ticket.number, 0)
        ends_at = min(window.ends_at, until)
        newer = replace(
            window, ends_at=ends_at, others_spent=others, newest=ticket.number, used=used, reported=True
        )
        return replace(budget, window=newer)

    def refused(self, retry_after: float | None, now: int) -> "Budget":
        """After a 429: nothing goes before the window ends, or before a later time that it named (seconds)."""
        rest = 0 if self.window is None else max(self.window.ends_at - now, 0)
        if retry_after is None:
            wait = rest or int(DEFAULT_RESET_SECONDS * SECOND) << min(self.refusals, 8)
        else:
            wait = int(min(retry_after, LONGEST_WINDOW_SECONDS) * SECOND)
            if rest and not self.refusals and wait <= rest + SECOND:
                wait = rest  # the same reset, known better than in whole seconds
        wait = min(max(wait, DEFAULT_INTERVAL // 100), int(LONGEST_WINDOW_SECONDS * SECOND))
        return replace(self, refusals=self.refusals + 1, not_before=max(self.not_before, now + wait))

    def _window(self, now: int) -> Window | None:
        """The window that a request of now counts in, as far as can be known before its answer."""
        window = self.window
        if window is None or now < window.ends_at:
            return window
        if not window.reported:  # a whole window without a word of it: be careful again
            return None
        return Window(window.limit, now, now + self.length + GUARD)

    def _goes_on(self, window: Window, ticket: Ticket, used: int, until: int) -> bool:
        """Whether the first answer of an expected window shows that the window before is not over yet.

        Its reset is too near, or it counts on from where the window before was.
        """
        near = until < window.began_at + self.length // 2
        counts_on = (
            2 * self.used_before > window.limit and used - ticket.number >= self.used_before - self.in_flight - 1
        )
        return near or counts_on

    def _expected(self, window: Window, now: int) -> int:
        """What others may still spend in the window, by what they spent before: the mean and two deviations.

        Where they spent anything the last one is theirs: they may spend it while our newest answer is on its way.
        """
        rest = min(max(window.ends_at - now, 0) / self.length, 1.0) if self.length else 0.0
        mean = self.others_spent * rest
        return math.ceil(mean + 2 * math.sqrt(mean)) + (self.others_spent > 0)

    def _spread(self, window: Window, left: int, now: int) -> int:
        """How long to wait so that as many requests as are left spread over the rest of the window."""
        since = window.began_at if self.sent_at is None else max(self.sent_at, window.began_at)
        if window.sent == 0:
            return 0
        target = window.ends_at - int(self.length * SLACK)
        return max(since + max(target - since, 0) // left - now, 0)


def _number(text: str | None) -> float | None:
    """A header's number, None where it is missing, negative, or none."""
    if text is None:
        return None
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None
