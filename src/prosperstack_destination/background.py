"""Background tasks: work that runs as long as the service, and limits on how long other work runs.

Work is limited by a deadline, or by the connection of the caller that waits for it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, MutableMapping
from typing import Any, Final, TypeVar

import structlog

from prosperstack_destination.errors import CallerLeft

log = structlog.get_logger(__name__)

#: Delay before a failed task restarts, in seconds.
RESTART_SECONDS: Final = 1.0


def run_forever(
    work: Callable[[], Awaitable[None]], name: str, restart_delay: float = RESTART_SECONDS
) -> "asyncio.Task[None]":
    """Start a task that runs until ``work`` returns or the task is cancelled.

    An exception is logged, and the work restarts after ``restart_delay`` seconds: an unexpected error at one call
    or account must not stop the work for all others.
    """
    return asyncio.create_task(_restart_on_error(work, name, restart_delay), name=name)


async def cancel(tasks: Iterable["asyncio.Task[Any]"]) -> None:
    """Cancel tasks, and wait until they end, in any way."""
    cancelled = list(tasks)
    for task in cancelled:
        task.cancel()
    await asyncio.gather(*cancelled, return_exceptions=True)


async def _restart_on_error(work: Callable[[], Awaitable[None]], name: str, restart_delay: float) -> None:
    while True:
        try:
            await work()
        except Exception:
            log.exception("background task failed; restarting", work=name, delay_seconds=restart_delay)
            await asyncio.sleep(restart_delay)
        else:
            return


T = TypeVar("T")

#: Receives the next ASGI message of a request.
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

#: The most tasks that may be past their deadline at once. At this number, the resource that they wait for hangs,
#: and no further task starts.
MAX_LEFT_BEHIND: Final = 100


class DeadlineRunner:
    """Runner of work in tasks, which leaves a task behind at its deadline.

    `asyncio.timeout` waits until the cancelled work has cleaned up, which takes seconds where a driver closes a
    connection to a server that hangs. Here the caller goes on at the deadline, and the task ends in the background.
    """

    def __init__(self) -> None:
        self._left_behind: set[asyncio.Task[Any]] = set()

    async def run(self, seconds: float, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return what ``work`` returns, and raise what it raises; raise `TimeoutError` after ``seconds``.

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
            task.exception()  # marks the exception as retrieved; asyncio would log a warning otherwise


async def while_connected(receive: Receive, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Return what ``work`` returns, and raise what it raises; cancel it when the caller disconnects.

    ``receive`` is that of a request whose body was read: its next message is the disconnect. Raises `CallerLeft`
    after a disconnect. Cancelled work must leave nothing half done.
    """
    working = asyncio.create_task(work())
    leaving = asyncio.create_task(_disconnected(receive))
    try:
        await asyncio.wait([working, leaving], return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise CallerLeft
        return await working
    finally:
        await cancel([working, leaving])


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
