"""An event loop whose clock is moved by hand."""

import asyncio
from collections.abc import Callable
from typing import Any


class Timer:
    """A call that is to come."""

    def __init__(self, at: float, call: Callable[[], object]) -> None:
        self.at = at
        self.call = call
        self.cancelled = False

    def cancel(self) -> None:
        """Let it not come."""
        self.cancelled = True


class HandMovedLoop:
    """The running event loop, but for its time: that passes only by `passes`."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._now = 0.0
        #: All that were ever set.
        self.timers: list[Timer] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    def time(self) -> float:
        """In seconds."""
        return self._now

    def call_later(self, delay: float, call: Callable[[], object]) -> Timer:
        """Set a timer."""
        timer = Timer(self._now + delay, call)
        self.timers.append(timer)
        return timer

    @property
    def waiting(self) -> list[Timer]:
        """Timers that are set, the first to fire first."""
        return sorted((timer for timer in self.timers if not timer.cancelled), key=lambda timer: timer.at)

    def passes(self, seconds: float) -> None:
        """Let time pass, and what falls into it happen."""
        until = self._now + seconds
        while (waiting := self.waiting) and waiting[0].at <= until:
            self._now = waiting[0].at
            waiting[0].cancel()
            waiting[0].call()
        self._now = until
