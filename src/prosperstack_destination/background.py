"""Background tasks that run as long as the service."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

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


async def _restart_on_error(work: Callable[[], Awaitable[None]], name: str, restart_delay: float) -> None:
    while True:
        try:
            await work()
        except Exception:
            log.exception("background task failed; restarting", work=name, delay_seconds=restart_delay)
            await asyncio.sleep(restart_delay)
        else:
            return
