"""Fair shares for large requests: turns that accounts take one after the other, and a bound on memory.

An array of thousands of events is ingested by pieces. Each piece waits for a turn, and the pieces that have one
fill a transaction: a single call never waits behind more than those. No further piece is parsed meanwhile. The
writing thread releases Python's lock at each row, and an event loop that parses takes it: both take twice as long.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

from starlette.types import Message, Receive

from prosperstack_destination.errors import Overloaded

#: The part of the memory for large bodies that one account may fill.
ACCOUNT_SHARE: Final = 0.75
#: What a caller is told to wait when large bodies fill the memory that there is for them, in seconds.
RETRY_SECONDS: Final = 2.0


class FairTurns:
    """Turns of different sizes, whose sum is at most what ``capacity`` returns.

    A larger turn comes alone. Accounts that wait are served in rotation, each in its order of arrival.
    """

    def __init__(self, capacity: Callable[[], int]) -> None:
        self._capacity = capacity
        self._taken = 0
        #: Sizes and turns by account; the account that is served next is first.
        self._waiting: OrderedDict[str, deque[tuple[int, asyncio.Future[None]]]] = OrderedDict()

    @asynccontextmanager
    async def turn(self, account_id: str, size: int) -> AsyncIterator[None]:
        """A turn for as long as the block runs."""
        await self._acquire(account_id, size)
        try:
            yield
        finally:
            self._release(size)

    async def _acquire(self, account_id: str, size: int) -> None:
        if not self._waiting and self._fits(size):
            self._taken += size
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(account_id, deque()).append((size, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._release(size)
            raise

    def _release(self, size: int) -> None:
        self._taken -= size
        while self._waiting:
            account_id, waiting = next(iter(self._waiting.items()))
            size, turn = waiting[0]
            if not turn.done() and not self._fits(size):
                return
            waiting.popleft()
            del self._waiting[account_id]
            if waiting:
                self._waiting[account_id] = waiting  # behind the other accounts
            if not turn.done():
                self._taken += size
                turn.set_result(None)

    def _fits(self, size: int) -> bool:
        return self._taken == 0 or self._taken + size <= self._capacity()


class BodyMemory:
    """Bounds the memory that large bodies hold from their first byte to their answer.

    All together may have ``most_bytes``, and those of one account `ACCOUNT_SHARE` of it.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._held: dict[str, int] = {}

    @contextmanager
    def track(self, account_id: str, receive: Receive) -> Iterator["TrackedBody"]:
        """Count what a request's body holds while the block runs, which reads by `CountedBody.receive`."""
        body = TrackedBody(account_id, receive, self._take)
        try:
            yield body
        finally:
            self._give_back(account_id, body.size)

    def _take(self, account_id: str, size: int) -> None:
        held = self._held.get(account_id, 0)
        if held and (sum(self._held.values()) + size > self._most or held + size > self._most * ACCOUNT_SHARE):
            raise Overloaded(
                "Too many large requests are waiting; send this one again, or smaller batches.",
                retry_after=RETRY_SECONDS,
            )
        self._held[account_id] = held + size

    def _give_back(self, account_id: str, size: int) -> None:
        left = self._held.get(account_id, 0) - size
        if left > 0:
            self._held[account_id] = left
        else:
            self._held.pop(account_id, None)


class TrackedBody:
    """A body whose memory is counted. Raises `Overloaded` where there is no room for more."""

    def __init__(self, account_id: str, receive: Receive, take: Callable[[str, int], None]) -> None:
        self._account_id = account_id
        self._receive = receive
        self._take = take
        #: What is counted so far, in bytes.
        self.size = 0

    async def receive(self) -> Message:
        """The next part of the body."""
        message = await self._receive()
        self._grow(len(message.get("body", b"")))
        return message

    def decompressed(self, size: int) -> None:
        """Count what the body holds when it is decompressed, in bytes."""
        if size > self.size:
            self._grow(size - self.size)

    def _grow(self, size: int) -> None:
        self._take(self._account_id, size)
        self.size += size
