"""Rate limit for the requests that find out whether a key is good.

A flood of made-up keys must be no flood for ProsperStack, and must not keep others from having theirs checked.
"""

import asyncio
from collections import deque
from typing import Final

from prosperstack_destination.errors import KeyUnverified

#: Checks that begin in a second, of all callers together.
CHECKS_PER_SECOND: Final = 5
#: A check waits for its turn for so long, in seconds. Segment gives up on a call after 5.
TURN_SECONDS: Final = 3.0
#: Checks of one group of callers that may wait for a turn, and groups.
MAX_WAITING: Final = 5
MAX_WAITING_GROUPS: Final = 1_000
#: Groups of which the latest turn is known; past it that of the group that had its turn first is forgotten.
MAX_GROUPS: Final = 10_000
#: What a caller is told to wait when a key could not be checked, in seconds.
CHECK_RETRY_SECONDS: Final = 5.0


class KeyCheckLimiter:
    """Gives checks their turns: the group of callers that had none, or none for longest, is next.

    A group is a client's network, so that a sender of made-up keys takes what others leave.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        #: The number of each group's latest turn, in the order of the turns.
        self._turns: dict[str, int] = {}
        self._count = 0
        self._giving: asyncio.Task[None] | None = None

    async def turn(self, group: str) -> None:
        """Wait until a check of a group may begin.

        Raises `KeyUnverified` where too many wait already, or the turn does not come within `TURN_SECONDS`.
        """
        waiting = self._waiting.get(group)
        if len(self._waiting) >= MAX_WAITING_GROUPS if waiting is None else len(waiting) >= MAX_WAITING:
            raise _too_many()
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(group, deque()).append(turn)
        if self._giving is None or self._giving.done():
            self._giving = asyncio.create_task(self._give_turns())
        try:
            async with asyncio.timeout(TURN_SECONDS):
                await turn
        except TimeoutError:
            raise _too_many() from None

    async def _give_turns(self) -> None:
        while self._waiting:
            group = min(self._waiting, key=lambda each: self._turns.get(each, 0))
            waiting = self._waiting[group]
            turn = waiting.popleft()
            if not waiting:
                del self._waiting[group]
            if turn.done():  # its caller waits no more
                continue
            turn.set_result(None)
            self._note(group)
            await asyncio.sleep(1 / CHECKS_PER_SECOND)

    def _note(self, group: str) -> None:
        self._count += 1
        self._turns.pop(group, None)
        self._turns[group] = self._count
        if len(self._turns) > MAX_GROUPS:
            del self._turns[next(iter(self._turns))]


def _too_many() -> KeyUnverified:
    return KeyUnverified(
        "Too many unknown API keys are being checked; send the call again.", retry_after=CHECK_RETRY_SECONDS
    )
