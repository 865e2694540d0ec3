"""Waiting up to a deadline."""

import asyncio

import pytest

from prosperstack_destination.deadlines import MAX_LEFT_BEHIND, DeadlineRunner
from support.clocks import VIRTUAL_TIME

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", [VIRTUAL_TIME])]


async def _stubborn() -> None:
    """Takes two seconds to be cancelled, as a connection to a server that hangs."""
    try:
        await asyncio.sleep(60)
    finally:
        await asyncio.sleep(2)


async def test_what_is_done_in_time_is_returned() -> None:
    """The result comes back, and what the work raises."""

    async def fail() -> None:
        raise ZeroDivisionError

    assert await DeadlineRunner().run(1, lambda: asyncio.sleep(0.5, "done")) == "done"
    with pytest.raises(ZeroDivisionError):
        await DeadlineRunner().run(1, fail)


async def test_the_deadline_holds_where_cancelling_takes_long() -> None:
    """The caller goes on at the deadline; too much left behind, at once; once that has ended, as before."""
    runner, loop = DeadlineRunner(), asyncio.get_running_loop()
    begun = loop.time()

    results = await asyncio.gather(
        *(runner.run(0.25, _stubborn) for _ in range(MAX_LEFT_BEHIND)), return_exceptions=True
    )
    assert all(isinstance(each, TimeoutError) for each in results)
    assert loop.time() - begun == pytest.approx(0.25)

    with pytest.raises(TimeoutError):
        await runner.run(0.25, _stubborn)
    assert loop.time() - begun == pytest.approx(0.25)

    await asyncio.sleep(2.1)
    assert await runner.run(0.25, lambda: asyncio.sleep(0, "done")) == "done"
