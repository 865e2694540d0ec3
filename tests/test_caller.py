"""Work for a caller who may leave."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from starlette.types import Message

from prosperstack_destination.deadlines import while_connected
from prosperstack_destination.errors import CallerLeft

pytestmark = pytest.mark.anyio


def _telling(*messages: str) -> Callable[[], Awaitable[Message]]:
    """A request that tells these things, and then nothing."""
    left = list(messages)

    async def receive() -> Message:
        if not left:
            await asyncio.Event().wait()
        return {"type": left.pop(0)}

    return receive


async def test_a_caller_who_stays_gets_the_result() -> None:
    """What the work returns comes back, also where a rest of the body comes first; so does what it raises."""

    async def fail() -> None:
        raise ZeroDivisionError

    assert await while_connected(_telling("http.request"), lambda: asyncio.sleep(0.01, "done")) == "done"
    with pytest.raises(ZeroDivisionError):
        await while_connected(_telling(), fail)


async def test_work_for_a_caller_who_left_is_cut_off() -> None:
    """The work is cancelled, and has cleaned up when that is told."""
    ended: list[str] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cleaned up")

    with pytest.raises(CallerLeft):
        await while_connected(_telling("http.disconnect"), work)

    assert ended == ["cleaned up"]


async def test_it_leaves_no_task_behind() -> None:
    """Neither the work nor the watch goes on."""
    before = asyncio.all_tasks()

    await while_connected(_telling(), lambda: asyncio.sleep(0))

    assert asyncio.all_tasks() == before
