"""Work that goes on in the background for as long as the service runs."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

log = structlog.get_logger(__name__)

#: Before work that broke off begins anew, in seconds.
RESTART_SECONDS: Final = 1.0


def run_forever(
    work: Callable[[], Awaitable[None]], name: str, restart_delay: float = RESTART_SECONDS
) -> "asyncio.Task[None]":
    """Begin work that is to go on until it returns or the task is cancelled.

    A fault of ours in it is told, and the work begins anew ``again`` seconds later: one call, or one account, that
    nobody thought of must not end it in silence for all others.
    """
    return asyncio.create_task(_restart_on_error(work, name, restart_delay), name=name)


async def _restart_on_error(work: Callable[[], Awaitable[None]], name: str, restart_delay: float) -> None:
    while True:
        try:
            await work()
        except Exception:
            log.exception("work in the background broke off: it begins anew", work=name)
            await asyncio.sleep(restart_delay)
        else:
            return
