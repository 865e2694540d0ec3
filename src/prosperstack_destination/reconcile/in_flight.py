"""The requests of an account that are in flight, with their profiles and the subscribers they write to."""

import asyncio
from collections.abc import Callable, Collection, Coroutine
from dataclasses import dataclass, field
from typing import Any

OnEnd = Callable[["asyncio.Task[None]", int | None], None]


@dataclass(frozen=True, slots=True)
class _InFlightRequest:
    profile_id: int | None
    writes_to: Collection[str]


@dataclass(slots=True)
class InFlight:
    """Requests that run concurrently."""

    #: Called with the task of each finished request, and its profile.
    on_end: OnEnd
    _tasks: "dict[asyncio.Task[None], _InFlightRequest]" = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._tasks)

    async def start(
        self, request: Coroutine[Any, Any, None], profile_id: int | None = None, writes_to: Collection[str] = ()
    ) -> None:
        """Start a request, and return once it counts in the budget.

        ``profile_id`` is the profile that it is for; ``writes_to`` are ids of the subscribers that it writes to.
        """
        task = asyncio.create_task(request)
        self._tasks[task] = _InFlightRequest(profile_id, writes_to)
        task.add_done_callback(self._ended)
        await asyncio.sleep(0)

    def profiles(self) -> set[int]:
        """Return the profiles that have a request in flight."""
        return {each.profile_id for each in self._tasks.values() if each.profile_id is not None}

    async def wait_for_writes(self, subscriber_id: str) -> None:
        """Wait until no request in flight writes to a subscriber."""
        writing = [task for task, each in self._tasks.items() if subscriber_id in each.writes_to]
        if writing:
            await asyncio.wait(writing)

    async def drain(self, *, cancel: bool = False) -> None:
        """Wait until all requests have ended; ``cancel``: cancel them."""
        if cancel:
            for task in self._tasks:
                task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self.on_end(task, self._tasks.pop(task).profile_id)
