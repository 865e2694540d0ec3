"""The requests of an account that are under way: whose they are, and to whom they write."""

import asyncio
from collections.abc import Callable, Collection, Coroutine
from dataclasses import dataclass, field
from typing import Any

Ended = Callable[["asyncio.Task[None]", int | None], None]


@dataclass(frozen=True, slots=True)
class _One:
    profile_id: int | None
    writes_to: Collection[str]


@dataclass(slots=True)
class InFlight:
    """Requests that run beside each other."""

    #: Told of each that has ended, with the profile that it was for.
    on_end: Ended
    _tasks: "dict[asyncio.Task[None], _One]" = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._tasks)

    async def start(
        self, work: Coroutine[Any, Any, None], profile_id: int | None = None, writes_to: Collection[str] = ()
    ) -> None:
        """Run a request, and return once it has gone so far as to be counted in the budget.

        It may be for a profile, and write to subscribers, by their ids.
        """
        task = asyncio.create_task(work)
        self._tasks[task] = _One(profile_id, writes_to)
        task.add_done_callback(self._ended)
        await asyncio.sleep(0)

    def profiles(self) -> set[int]:
        """The profiles that have one under way."""
        return {each.profile_id for each in self._tasks.values() if each.profile_id is not None}

    async def wait_for_writes(self, subscriber_id: str) -> None:
        """Wait until nothing is being written to a subscriber."""
        writing = [task for task, each in self._tasks.items() if subscriber_id in each.writes_to]
        if writing:
            await asyncio.wait(writing)

    async def drain(self, *, cancel: bool = False) -> None:
        """Wait until all have ended, or have them end now."""
        if cancel:
            for task in self._tasks:
                task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self.on_end(task, self._tasks.pop(task).profile_id)
