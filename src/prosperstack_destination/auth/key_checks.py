"""Rate limit of the requests that check unknown keys with ProsperStack.

A flood of made-up keys must not become a flood for ProsperStack, and must not delay the checks of other callers.
"""

import asyncio
from collections import deque
from typing import Final

from prosperstack_destination.errors import KeyUnverified

#: Checks that start in a second, of all callers.
CHECKS_PER_SECOND: Final = 5
#: Longest wait of a check for its turn, in seconds. Segment gives up on a call after 5.
TURN_SECONDS: Final = 3.0
#: Waiting checks of one group of callers, and waiting groups.
MAX_WAITING: Final = 5
MAX_WAITING_GROUPS: Final = 1_000
#: Groups whose latest turn is known; beyond that, the group with the oldest turn is dropped.
MAX_GROUPS: Final = 10_000
#: Retry-After for a key that could not be checked, in seconds.
CHECK_RETRY_SECONDS: Final = 5.0


class KeyCheckLimiter:
    """Gives turns to checks: the group without a turn, or with the oldest one, is next.

    A group is a client's network, so that a sender of made-up keys only gets the turns that others leave.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        #: Number of each group's latest turn, in the order of the turns.
        self._turns: dict[str, int] = {}
        self._count = 0
        self._task: asyncio.Task[None] | None = None

    async def turn(self, group: str) -> None:
        """Wait until a check of a group may start.

        Raises `KeyUnverified` where too many wait already, or the turn does not come within `TURN_SECONDS`.
        """
        waiting = self._waiting.get(group)
        if len(self._waiting) >= MAX_WAITING_GROUPS if waiting is None else len(waiting) >= MAX_WAITING:
            raise _too_many()
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(group, deque()).append(turn)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._give_turns())
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
            if turn.done():  # its caller has given up
                continue
            turn.set_result(None)
            self._record_turn(group)
            await asyncio.sleep(1 / CHECKS_PER_SECOND)

    def _record_turn(self, group: str) -> None:
        self._count += 1
        self._turns.pop(group, None)
        self._turns[group] = self._count
        if len(self._turns) > MAX_GROUPS:
            del self._turns[next(iter(self._turns))]


def _too_many() -> KeyUnverified:
    return KeyUnverified(
        "Too many unknown API keys are being checked; send the call again.", retry_after=CHECK_RETRY_SECONDS
    )
