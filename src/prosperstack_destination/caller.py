"""Work that is done for a caller who waits for it, and is of no use to anybody else."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from starlette.types import Receive

from prosperstack_destination.errors import CallerLeft

T = TypeVar("T")


async def while_connected(receive: Receive, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Return what ``work`` returns, and raise what it raises; cancel it where the caller leaves before.

    ``receive`` is that of a request whose body was read: what it tells next is that the caller has left. Raises
    `CallerLeft` then. Work that is cut off must leave nothing half done.
    """
    working = asyncio.create_task(work())
    leaving = asyncio.create_task(_left(receive))
    try:
        await asyncio.wait([working, leaving], return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise CallerLeft
        return await working
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
