"""Work in the background."""

import asyncio

import pytest
import structlog

from prosperstack_destination.background import run_forever

pytestmark = pytest.mark.anyio


async def test_it_begins_anew() -> None:
    """What breaks off is told with its cause, and begun anew; what comes to its end has ended."""
    begun = 0

    async def breaks_twice() -> None:
        nonlocal begun
        begun += 1
        if begun < 3:
            raise LookupError("nobody thought of that")

    with structlog.testing.capture_logs() as logs:
        await run_forever(breaks_twice, "counting", restart_delay=0)

    assert begun == 3
    assert [(each["log_level"], each["work"]) for each in logs] == [("error", "counting")] * 2


async def test_it_can_be_cancelled() -> None:
    """A task that is cancelled begins nothing anew."""
    started = asyncio.Event()

    async def waits() -> None:
        started.set()
        await asyncio.Event().wait()

    task = run_forever(waits, "waiting")
    await started.wait()
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
