"""Time that tests own."""

import asyncio

from bench.virtual_time import VirtualTimeLoop

#: 2026-01-01T00:00:00Z, in microseconds: when tests begin.
NEW_YEAR = 1_767_225_600_000_000


class SetClock:
    """A clock, in microseconds, that moves when it is told to."""

    def __init__(self, now: int = NEW_YEAR) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now

    def advance(self, seconds: float) -> None:
        """Let so many seconds go by."""
        self.now += int(seconds * 1_000_000)

    async def sleep(self, seconds: float) -> None:
        """Let so many seconds go by at once: for what takes a sleep."""
        self.advance(seconds)


#: For the fixture ``anyio_backend``: waiting takes no time.
VIRTUAL_TIME = ("asyncio", {"loop_factory": VirtualTimeLoop})


class LoopClock:
    """The time of a loop whose time is virtual, from the new year on; in microseconds."""

    def __call__(self) -> int:
        return NEW_YEAR + self.ticks()

    def ticks(self) -> int:
        """The same as a monotonic clock has it."""
        return self._loop().ticks()

    def advance(self, seconds: float) -> None:
        """Let so many seconds go by at once."""
        self._loop().advance(seconds)

    def _loop(self) -> VirtualTimeLoop:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        return loop
