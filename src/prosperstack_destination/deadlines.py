"""Waiting for work up to a deadline, whatever it hangs on."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

T = TypeVar("T")

#: Tasks that may be left behind at once. Past it nothing is begun: what the work waits for hangs.
MAX_LEFT_BEHIND: Final = 100


class DeadlineRunner:
    """Runs work in tasks, and leaves a task behind that is not done in time.

    `asyncio.timeout` waits until the cancelled work has cleaned up, which takes seconds where a driver closes a
    connection to a server that hangs. Here the caller goes on at the deadline, and the task ends in the background.
    """

    def __init__(self) -> None:
        self._left_behind: set[asyncio.Task[Any]] = set()

    async def run(self, seconds: float, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return what ``work`` returns, and raise what it raises; `TimeoutError` after so many seconds.

        Raises `TimeoutError` at once while `MAX_LEFT_BEHIND` tasks are not done.
        """
        if len(self._left_behind) >= MAX_LEFT_BEHIND:
            raise TimeoutError
        task = asyncio.create_task(work())
        try:
            await asyncio.wait([task], timeout=max(seconds, 0.0))
        finally:
            if not task.done():
                task.cancel()
                self._left_behind.add(task)
                task.add_done_callback(self._ended)
        if task.done():
            return task.result()
        raise TimeoutError

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        self._left_behind.discard(task)
        if not task.cancelled():
            task.exception()  # or asyncio would warn of what nobody waits for
