"""Refresh-ahead cache of a value in the database, for requests that must not wait."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

import structlog

from prosperstack_destination.clock import Clock
from prosperstack_destination.errors import StoreUnavailable

log = structlog.get_logger(__name__)

#: Time to wait for a refresh before the old value is used, in seconds.
REFRESH_TIMEOUT: Final = 0.05
#: Time to wait for the first read, in seconds.
FIRST_READ_TIMEOUT: Final = 0.25

T = TypeVar("T")


class RefreshingValue(Generic[T]):
    """A cached value of the database.

    While it is read often, it is refreshed in the background before it expires. After a pause the caller waits for
    a refresh. ``name`` is for the log.
    """

    def __init__(self, name: str, read: Callable[[], Awaitable[T]], clock: Clock) -> None:
        self._name = name
        self._read = read
        self._clock = clock
        #: Time of the read, and the value.
        self._last: tuple[int, T] | None = None
        self._refresh: asyncio.Task[None] | None = None

    async def get(self, max_age: int) -> T:
        """Return the value, at most ``max_age`` microseconds old, or an older one if the database is slow or
        unavailable.

        Raises `StoreUnavailable` if it was never read and is not within `FIRST_READ_TIMEOUT`.
        """
        if not self._is_younger(max_age // 2):
            refresh = self._start_refresh()
            if not self._is_younger(max_age):
                await asyncio.wait([refresh], timeout=FIRST_READ_TIMEOUT if self._last is None else REFRESH_TIMEOUT)
        if self._last is None:
            raise StoreUnavailable("The database does not answer; call again.", retry_after=1)
        return self._last[1]

    @property
    def is_refreshing(self) -> bool:
        """True while a refresh is running."""
        return self._refresh is not None and not self._refresh.done()

    async def close(self) -> None:
        """Wait for the running refresh."""
        if self._refresh is not None:
            await asyncio.wait([self._refresh])

    def _is_younger(self, age: int) -> bool:
        return self._last is not None and 0 <= self._clock() - self._last[0] < age

    def _start_refresh(self) -> "asyncio.Task[None]":
        """Start a refresh, or return the running one."""
        if self._refresh is None or self._refresh.done():
            self._refresh = asyncio.create_task(self._read_value(), name=self._name)
        return self._refresh

    async def _read_value(self) -> None:
        now = self._clock()
        try:
            value = await self._read()
        except StoreUnavailable as error:
            log.warning("cache refresh failed; using the old value", what=self._name, reason=str(error))
        except Exception:  # a bug: logged here, since no caller awaits the task
            log.exception("cache refresh failed; using the old value", what=self._name)
        else:
            self._last = now, value
