"""Background tasks, deadlines, and work for a caller that may disconnect."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
import structlog
from starlette.types import Message

from prosperstack_destination.background import MAX_LEFT_BEHIND, DeadlineRunner, run_forever, while_connected
from prosperstack_destination.errors import CallerLeft
from support.clocks import VIRTUAL_TIME

pytestmark = pytest.mark.anyio

virtual_time = pytest.mark.parametrize("anyio_backend", [VIRTUAL_TIME])


async def test_failed_task_restarts() -> None:
    """An exception is logged and the work restarts; work that returns has ended."""
    starts = 0

    async def fail_twice() -> None:
        nonlocal starts
        starts += 1
        if starts < 3:
            raise LookupError("unexpected")

    with structlog.testing.capture_logs() as logs:
        await run_forever(fail_twice, "counting", restart_delay=0)

    assert starts == 3
    assert [(each["log_level"], each["work"]) for each in logs] == [("error", "counting")] * 2


async def test_cancelled_task_does_not_restart() -> None:
    """A cancelled task ends."""
    started = asyncio.Event()

    async def wait() -> None:
        started.set()
        await asyncio.Event().wait()

    task = run_forever(wait, "waiting")
    await started.wait()
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


async def _fail() -> None:
    raise ZeroDivisionError


async def _slow_to_cancel() -> None:
    """Take two seconds to be cancelled, as a connection to a server that hangs."""
    try:
        await asyncio.sleep(60)
    finally:
        await asyncio.sleep(2)


@virtual_time
async def test_result_before_the_deadline_is_returned() -> None:
    """The runner returns what the work returns, and raises what it raises."""
    assert await DeadlineRunner().run(1, lambda: asyncio.sleep(0.5, "done")) == "done"
    with pytest.raises(ZeroDivisionError):
        await DeadlineRunner().run(1, _fail)


@virtual_time
async def test_deadline_holds_while_cancelling_takes_long() -> None:
    """The caller continues at the deadline, and at once while too many tasks are left behind."""
    runner, loop = DeadlineRunner(), asyncio.get_running_loop()
    began_at = loop.time()

    results = await asyncio.gather(
        *(runner.run(0.25, _slow_to_cancel) for _ in range(MAX_LEFT_BEHIND)), return_exceptions=True
    )
    assert all(isinstance(each, TimeoutError) for each in results)
    assert loop.time() - began_at == pytest.approx(0.25)

    with pytest.raises(TimeoutError):
        await runner.run(0.25, _slow_to_cancel)
    assert loop.time() - began_at == pytest.approx(0.25)

    await asyncio.sleep(2.1)
    assert await runner.run(0.25, lambda: asyncio.sleep(0, "done")) == "done"


def _receive(*messages: str) -> Callable[[], Awaitable[Message]]:
    """Return the ``receive`` of a request with messages of these types, which then waits for ever."""
    left = list(messages)

    async def receive() -> Message:
        if not left:
            await asyncio.Event().wait()
        return {"type": left.pop(0)}

    return receive


async def test_connected_caller_gets_the_result() -> None:
    """The result is returned, also after a rest of the body, and an error is raised."""
    assert await while_connected(_receive("http.request"), lambda: asyncio.sleep(0.01, "done")) == "done"
    with pytest.raises(ZeroDivisionError):
        await while_connected(_receive(), _fail)


async def test_work_is_cancelled_when_the_caller_disconnects() -> None:
    """The work is cancelled, and has cleaned up when the error is raised."""
    ended: list[str] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cleaned up")

    with pytest.raises(CallerLeft):
        await while_connected(_receive("http.disconnect"), work)

    assert ended == ["cleaned up"]


async def test_no_task_is_left_behind() -> None:
    """Neither the work nor the watch for a disconnect continues."""
    before = asyncio.all_tasks()

    await while_connected(_receive(), lambda: asyncio.sleep(0))

    assert asyncio.all_tasks() == before
