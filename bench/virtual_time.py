"""An event loop whose time jumps: hours of waiting take no longer than the work between the waits."""

import asyncio
import selectors
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An asyncio loop on which waiting costs no time.

    Whenever every task waits, its clock jumps to the next timer. Work in threads, as a real database's is, takes
    no time by this clock: until it is done the clock stands still. Real sockets are not for this loop.
    """

    def __init__(self) -> None:
        self._now = 0.0
        self._jobs = 0
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._now

    def ticks(self) -> int:
        """The same in whole microseconds."""
        return round(self._now * 1_000_000)

    def run_in_executor(  # type: ignore[override] # typeshed has it as a coroutine; it gives a future
        self, executor: Executor | None, func: Callable[..., Any], *args: Any
    ) -> "asyncio.Future[Any]":
        """Run work in a thread; the clock stands still meanwhile."""
        future = super().run_in_executor(executor, func, *args)
        self._jobs += 1
        future.add_done_callback(self._done)
        return future

    def advance(self, seconds: float) -> None:
        """Let so much time go by at once, whatever is under way."""
        self._now += seconds

    def jump(self, seconds: float) -> bool:
        """Let virtual time go by, unless work is being done in a thread; whether it did."""
        if self._jobs:
            return False
        self._now += seconds
        return True

    def _done(self, _: "asyncio.Future[Any]") -> None:
        self._jobs -= 1


class _JumpingSelector(selectors.DefaultSelector):
    """Waits for nothing but the loop's own threads."""

    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and (timeout <= 0 or self._loop.jump(timeout)):
            return super().select(0)
        return super().select(None)
