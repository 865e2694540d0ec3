"""What is read from the database now and then, and believed in between, so that nobody waits for it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

import structlog

from prosperstack_destination.clock import Clock
from prosperstack_destination.errors import StoreUnavailable

log = structlog.get_logger(__name__)

#: The database has this long before what was read last is believed once more, in seconds.
PATIENCE_SECONDS: Final = 0.05
#: And where nothing was read before, in seconds.
FIRST_SECONDS: Final = 0.25

T = TypeVar("T")


class RefreshingValue(Generic[T]):
    """A value of the database's.

    While it is asked for often it is read again before it is too old, beside those who ask; after a pause they wait
    for it. ``name`` is for the log.
    """

    def __init__(self, name: str, read: Callable[[], Awaitable[T]], clock: Clock) -> None:
        self._name = name
        self._read = read
        self._clock = clock
        #: As of when, and the value.
        self._last: tuple[int, T] | None = None
        self._reading: asyncio.Task[None] | None = None

    async def get(self, oldest: int) -> T:
        """The value, no older than so many microseconds, or as it was read last where the database is slow or away.

        Raises `StoreUnavailable` where it was never read, and is not within `FIRST_SECONDS`.
        """
        if not self._younger(oldest // 2):
            reading = self._read_again()
            if not self._younger(oldest):
                await asyncio.wait([reading], timeout=FIRST_SECONDS if self._last is None else PATIENCE_SECONDS)
        if self._last is None:
            raise StoreUnavailable("The database does not answer; call again.", retry_after=1)
        return self._last[1]

    @property
    def is_reading(self) -> bool:
        """Whether it is being read."""
        return self._reading is not None and not self._reading.done()

    async def close(self) -> None:
        """Let the reading that is under way end."""
        if self._reading is not None:
            await asyncio.wait([self._reading])

    def _younger(self, age: int) -> bool:
        return self._last is not None and 0 <= self._clock() - self._last[0] < age

    def _read_again(self) -> "asyncio.Task[None]":
        """Read it, once for all who wait."""
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._renew(), name=self._name)
        return self._reading

    async def _renew(self) -> None:
        now = self._clock()
        try:
            value = await self._read()
        except StoreUnavailable as error:
            log.warning("what is believed cannot be read again", what=self._name, reason=str(error))
        except Exception:  # a bug of ours: it is told here, since nobody waits for it
            log.exception("what is believed cannot be read again", what=self._name)
        else:
            self._last = now, value
