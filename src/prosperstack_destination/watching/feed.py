"""The feed of events: what people look at when they ask whether it works. It never slows the work down."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final

import structlog
from sqlalchemy import Connection

from prosperstack_destination.errors import StoreUnavailable
from prosperstack_destination.state import events, rate_limits
from prosperstack_destination.state.database import Database
from prosperstack_destination.state.events import Event
from prosperstack_destination.state.rate_limits import ToldLimit

log = structlog.get_logger(__name__)

#: How often events are written, in seconds, and how many of them; what comes between is counted and left out.
WRITE_SECONDS: Final = 1.0
MOST_AT_ONCE: Final = 200


class Feed:
    """Writes events, a few a second at most. ``left_out`` is told how many there was no room for."""

    def __init__(self, database: Database, left_out: Callable[[int], None]) -> None:
        self._database = database
        self._left_out = left_out
        self._waiting: list[Event] = []
        self._limits: dict[str, ToldLimit] = {}
        self._closing = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to write."""
        self._task = asyncio.create_task(self._write_all(), name="feed")

    async def close(self) -> None:
        """Write what waits, once, then stop."""
        self._closing.set()
        if self._task is not None:
            await self._task

    def told(self, account_id: str, limit: ToldLimit) -> None:
        """Keep what was told of an account's rate limit last. Returns at once."""
        self._limits[account_id] = limit

    def add(self, new: int, make: Callable[[int], Event]) -> None:
        """Add so many new events, as far as there is room: only those are made, by number. Returns at once."""
        room = min(new, MOST_AT_ONCE - len(self._waiting))
        self._waiting += map(make, range(room))
        if room < new:
            self._left_out(new - room)

    async def _write_all(self) -> None:
        while not self._closing.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), WRITE_SECONDS)
            await self._write()
        await self._write()

    async def _write(self) -> None:
        new, self._waiting = self._waiting, []
        limits, self._limits = self._limits, {}
        if not (new or limits):
            return
        try:
            await self._database.write(_write, new, limits)
        except StoreUnavailable as error:
            log.warning("events could not be written", reason=str(error), events=len(new))


def _write(connection: Connection, new: Sequence[Event], limits: Mapping[str, ToldLimit]) -> None:
    if new:
        events.append(connection, new)
    rate_limits.note(connection, limits)
