"""The request budget of one account, as ProsperStack's responses report it.

Every response carries ``RateLimit-Limit`` (requests per window), ``RateLimit-Remaining`` and ``RateLimit-Reset``
(seconds until the window resets). The limit is not known beforehand, and the account's owner and their other tools
spend from the same window, so the headers decide. A local count only covers requests whose responses have not
arrived: requests overlap.

Times are ticks of a monotonic clock, in microseconds: a wall clock that jumps changes nothing.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from prosperstack_destination.clock import SECOND
from prosperstack_destination.storable_text import MAX_INT32

#: Interval between requests while no response has reported a limit, in microseconds.
DEFAULT_INTERVAL: Final = 1 * SECOND
#: Upper bound of a window's length, for any header, in seconds.
LONGEST_WINDOW_SECONDS: Final = 3_600.0
#: Wait after a 429 without a time, in seconds; doubled for each further 429 in a row.
DEFAULT_RESET_SECONDS: Final = 10.0
#: Margin added to the reported end of a window, in microseconds: a request slightly early counts in the window
#: before.
GUARD: Final = SECOND // 1000
#: Last part of a window that pacing leaves free, for delays of the event loop and the network.
SLACK: Final = 0.03
#: Lateness of a request that the next ones make up for, in microseconds: timers wake late, the more so under load.
CATCH_UP: Final = SECOND // 10
#: Weight of others' earlier spending where they spend less now; an increase counts at once.
OTHERS_DECAY: Final = 0.8


@dataclass(frozen=True, slots=True)
class RateLimit:
    """Rate limit headers of one response."""

    limit: int
    remaining: int
    #: Time until the window resets, in seconds.
    reset_seconds: float

    @classmethod
    def from_headers(cls, headers: Mapping[str, str]) -> "RateLimit | None":
        """Read the three headers; return None where one is missing or invalid."""
        limit = _number(headers.get("RateLimit-Limit"))
        remaining = _number(headers.get("RateLimit-Remaining"))
        reset = _number(headers.get("RateLimit-Reset"))
        if limit is None or remaining is None or reset is None or limit < 1:
            return None
        capped = min(int(limit), MAX_INT32)
        return cls(capped, min(int(remaining), capped), min(reset, LONGEST_WINDOW_SECONDS))


@dataclass(frozen=True, slots=True)
class Window:
    """One window of the rate limit, as far as it is known."""

    limit: int
    began_at: int
    #: The earliest end that any response allows: resets come in whole seconds, rounded up.
    ends_at: int
    #: Requests spent before our first one, by unknown senders.
    base: int = 0
    #: Our requests in the window.
    sent: int = 0
    #: Requests of others, by the response to our newest answered request.
    others_spent: int = 0
    #: Number of that request, and the total of requests that its response reported.
    newest: int = 0
    used: int = 0
    #: True if a response reported this window; otherwise it is predicted from the one before.
    reported: bool = False


@dataclass(frozen=True, slots=True)
class Ticket:
    """The request and window that a response belongs to; issued by `Budget.sent`."""

    #: Start of its window; -1: there was none.
    window: int
    #: Number in the window, from 1.
    number: int
    sent_at: int


@dataclass(frozen=True, slots=True)
class Budget:
    """Requests that may still be sent, and the time of the next. Immutable: each event returns a new budget."""

    #: Share of every window that is left for the account's owner; their own requests count towards it.
    reserve: float
    #: None: no response has reported a window.
    window: Window | None = None
    #: Length of windows, by the longest reported reset, in microseconds.
    length: int = 0
    #: Expected requests of others per window: follows an increase at once, a decrease slowly.
    others_spent: float = 0.0
    #: Total of requests in the window before.
    used_before: int = 0
    #: Time of the latest request; None: none was sent.
    sent_at: int | None = None
    #: Time from which the next request is spaced: when the latest one was due, up to `CATCH_UP` before it was sent.
    spaced_from: int | None = None
    #: Requests whose responses have not arrived.
    in_flight: int = 0
    #: Responses with 429 in a row, and the time before which no request goes.
    refusals: int = 0
    not_before: int = 0

    @property
    def interval(self) -> int:
        """Mean time between requests at full speed, in microseconds; `DEFAULT_INTERVAL` while no limit is known."""
        if self.window is None or not self.length:
            return DEFAULT_INTERVAL
        usable = self.window.limit - max(math.ceil(self.window.limit * self.reserve), math.ceil(self.others_spent))
        return max(self.length // max(usable, 1), 1)

    def wait(self, now: int, *, urgent: bool = False) -> int:
        """Return the wait before the next request, in microseconds; 0: it may go now.

        Requests are spread over the rest of a window, so that it is neither used up at its start nor left unused at
        its end. An urgent request goes as soon as the budget has one left.
        """
        wait = max(self.not_before - now, 0)
        window = self._window(now)
        if window is None:
            spaced = 0 if self.sent_at is None else self.sent_at + DEFAULT_INTERVAL - now
            return max(wait, spaced, 0)
        remaining = max(window.ends_at - now, 1)
        free, reserved = self._free(window)
        if free <= max(reserved, 0):
            return max(wait, remaining)
        left = free - max(reserved, self._expected(window, now))
        if left <= 0 and window.sent:  # the expected spending of others shrinks as the window passes
            return max(wait, min(remaining, max(self.length // 60, 1)))
        # The first request of a window always goes: its response shows when others have stopped.
        return wait if urgent else max(wait, self._due_at(window, left, now) - now)

    def sent(self, now: int) -> "Budget":
        """Return the budget after a request was sent; `ticket` identifies its response."""
        window = self._window(now)
        budget = replace(self, sent_at=now, spaced_from=self._spaced_from(now), in_flight=self.in_flight + 1)
        if window is None:
            return replace(budget, window=None)
        if self.window is not None and window is not self.window:
            ended = self.window
            others = max(ended.others_spent, OTHERS_DECAY * self.others_spent)
            budget = replace(budget, others_spent=others, used_before=ended.base + ended.others_spent + ended.sent)
        return replace(budget, window=replace(window, sent=window.sent + 1))

    @property
    def ticket(self) -> Ticket:
        """Ticket of the latest request, for its response."""
        sent_at = self.sent_at or 0
        if self.window is None:
            return Ticket(-1, 1, sent_at)
        return Ticket(self.window.began_at, self.window.sent, sent_at)

    def answered(self, ticket: Ticket, reported: RateLimit | None, now: int) -> "Budget":
        """Return the budget after a response, by its rate limit; None: no response, or none reported."""
        budget = replace(self, in_flight=max(self.in_flight - 1, 0))
        if reported is None:
            return budget
        reset = max(int((reported.reset_seconds or 1.0) * SECOND), 1)  # 0 is "within this second"
        served_at = (ticket.sent_at + now) // 2
        reported_end = served_at + reset + GUARD
        if reported.remaining:
            budget = replace(budget, refusals=0)
        used = reported.limit - reported.remaining
        window = budget.window
        if window is None or window.limit != reported.limit:
            first = Window(
                reported.limit, served_at, reported_end, base=used - 1, sent=1, newest=1, used=used, reported=True
            )
            return replace(budget, window=first, length=reset)
        if ticket.window != window.began_at:
            return budget  # the response belongs to a window that is over
        # The length is the longest reset; a wrong one decays in the windows that follow.
        budget = replace(budget, length=max(reset, self.length if window.reported else self.length // 2))
        if ticket.number <= window.newest:
            return replace(budget, window=replace(window, ends_at=min(window.ends_at, reported_end), reported=True))
        if used < window.used:  # the next window began with this request, or shortly before
            since = window.sent - ticket.number
            began = Window(reported.limit, served_at, served_at + budget.length + GUARD, base=used, sent=since)
            return replace(budget, window=replace(began, newest=since, used=used, reported=True))
        if not window.reported:  # its end was predicted from windows that may have been joined midway
            window = replace(window, base=max(used - ticket.number, 0), ends_at=reported_end)
            if self._continues_previous(window, ticket, used, reported_end):
                soon = now + max(now - ticket.sent_at, 10 * GUARD)
                window = replace(window, ends_at=min(reported_end, soon))
        others = max(used - window.base - ticket.number, 0)
        ends_at = min(window.ends_at, reported_end)
        newer = replace(
            window, ends_at=ends_at, others_spent=others, newest=ticket.number, used=used, reported=True
        )
        return replace(budget, window=newer)

    def refused(self, retry_after: float | None, now: int) -> "Budget":
        """Return the budget after a 429.

        Nothing is sent before the window ends, or before a later time that the response names (``retry_after``, in
        seconds).
        """
        remaining = 0 if self.window is None else max(self.window.ends_at - now, 0)
        if retry_after is None:
            wait = remaining or int(DEFAULT_RESET_SECONDS * SECOND) << min(self.refusals, 8)
        else:
            wait = int(min(retry_after, LONGEST_WINDOW_SECONDS) * SECOND)
            if remaining and not self.refusals and wait <= remaining + SECOND:
                wait = remaining  # the same reset, known more precisely than in whole seconds
        wait = min(max(wait, DEFAULT_INTERVAL // 100), int(LONGEST_WINDOW_SECONDS * SECOND))
        return replace(self, refusals=self.refusals + 1, not_before=max(self.not_before, now + wait))

    def _window(self, now: int) -> Window | None:
        """Return the window that a request counts in now, as far as known before its response."""
        window = self.window
        if window is None or now < window.ends_at:
            return window
        if not window.reported:  # no response in a whole window: start over
            return None
        return Window(window.limit, now, now + self.length + GUARD)

    def _continues_previous(self, window: Window, ticket: Ticket, used: int, until: int) -> bool:
        """Return whether the first response of a predicted window shows that the window before has not ended.

        Its reset is too near, or its count continues from the window before.
        """
        resets_soon = until < window.began_at + self.length // 2
        counts_on = (
            2 * self.used_before > window.limit and used - ticket.number >= self.used_before - self.in_flight - 1
        )
        return resets_soon or counts_on

    def _expected(self, window: Window, now: int) -> int:
        """Return the expected requests of others in the rest of the window: the mean and two deviations.

        Where others spent anything one more is kept for them: they may send it before our newest response arrives.
        """
        fraction = min(max(window.ends_at - now, 0) / self.length, 1.0) if self.length else 0.0
        mean = self.others_spent * fraction
        return math.ceil(mean + 2 * math.sqrt(mean)) + (self.others_spent > 0)

    def _free(self, window: Window) -> tuple[int, int]:
        """Return the requests that the window has left, and how many of them are reserved for others."""
        free = window.limit - window.base - window.others_spent - window.sent
        return free, min(math.ceil(window.limit * self.reserve), window.limit - 1) - window.others_spent

    def _due_at(self, window: Window, left: int, now: int) -> int:
        """Return the time of the next request that spreads ``left`` requests over the rest of the window."""
        if window.sent == 0:
            return now
        since = window.began_at if self.spaced_from is None else max(self.spaced_from, window.began_at)
        target = window.ends_at - int(self.length * SLACK)
        return since + max(target - since, 0) // left

    def _spaced_from(self, now: int) -> int:
        """Return the time from which the request after one that is sent now is spaced."""
        window = self._window(now)
        if window is None:
            return now
        free, reserved = self._free(window)
        left = free - max(reserved, self._expected(window, now))
        return min(max(self._due_at(window, max(left, 1), now), now - CATCH_UP), now)


def _number(text: str | None) -> float | None:
    """Return a header's number; None where it is missing, negative or no number."""
    if text is None:
        return None
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None
