"""What takes long to find out where there is very much: found out beside, and kept, so that no page waits."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import structlog

from prosperstack_destination.clock import SECOND, Clock
from prosperstack_destination.errors import DestinationError

T = TypeVar("T")

log = structlog.get_logger(__name__)

#: What is found out within this is never kept: who asks waits for it. In seconds.
FAST_QUERY: Final = 0.02
#: What took longer is good for so many times as long, so that it is a small part of what a process does.
TTL_FACTOR: Final = 20
#: And for no longer than this, in microseconds.
MAX_TTL: Final = 60 * SECOND
#: Keys of which something is kept.
MAX_ENTRIES: Final = 64


@dataclass(frozen=True, slots=True)
class _CachedResult(Generic[T]):
    value: T
    #: Until then it is good, by the clock that is never set.
    until: int


class SlowQueryCache(Generic[T]):
    """What was found out last, by a key.

    ``find`` finds it out; ``ticks`` is a clock in microseconds that is never set.
    """

    def __init__(self, find: Callable[[str], Awaitable[T]], ticks: Clock) -> None:
        self._find = find
        self._ticks = ticks
        self._found: OrderedDict[str, _CachedResult[T]] = OrderedDict()
        self._under_way: dict[str, asyncio.Task[T]] = {}

    async def latest(self, key: str) -> T | None:
        """What there is now, if that is found out quickly; else what was found out last, for which it takes over
        when it is there. None: nothing was yet.

        Raises what finding out raises, where that was quick.
        """
        found = self._found.get(key)
        if found is not None and self._ticks() < found.until:
            return found.value
        task = self._begun(key)
        done, _ = await asyncio.wait([task], timeout=FAST_QUERY)
        if done:
            return task.result()
        return None if found is None else found.value

    async def get_or_wait(self, key: str) -> T:
        """The same; where nothing was found out yet, whoever asks waits for it. Raises what finding out raises."""
        found = await self.latest(key)
        return await asyncio.shield(self._begun(key)) if found is None else found

    async def close(self) -> None:
        """Break off what is being found out."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begun(self, key: str) -> asyncio.Task[T]:
        """One at a time finds a thing out; who asks meanwhile is told the same."""
        task = self._under_way.get(key)
        if task is None:
            task = self._under_way[key] = asyncio.create_task(self._find_out(key))
            task.add_done_callback(lambda done: self._ended(key, done))
        return task

    async def _find_out(self, key: str) -> T:
        begun = self._ticks()
        value = await self._find(key)
        now = self._ticks()
        took = now - begun
        if took > FAST_QUERY * SECOND:
            self._found[key] = _CachedResult(value, now + min(TTL_FACTOR * took, MAX_TTL))
            self._found.move_to_end(key)
            while len(self._found) > MAX_ENTRIES:
                self._found.popitem(last=False)
        else:
            self._found.pop(key, None)
        return value

    def _ended(self, key: str, task: asyncio.Task[T]) -> None:
        self._under_way.pop(key, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            if not isinstance(error, DestinationError):
                log.error("a figure could not be found out", error=type(error).__name__)
            else:  # whoever asks next has it found out anew
                log.warning("a figure could not be found out", error=str(error))
