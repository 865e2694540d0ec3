"""Spending one account's requests: each waits for the budget, and every answer teaches it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from prosperstack_destination.clock import SECOND, Clock
from prosperstack_destination.errors import RateLimited
from prosperstack_destination.prosperstack.budget import Budget, RateLimit

T = TypeVar("T")

#: Waits that many seconds. Handed in, so that tests own the time.
Sleep = Callable[[float], Awaitable[None]]


class Spender:
    """The request budget of one account, in use.

    ``ticks`` is a clock that is never set back (monotonic), in microseconds.
    """

    def __init__(self, reserve: float, ticks: Clock, sleep: Sleep = asyncio.sleep) -> None:
        self.budget = Budget(reserve=reserve)
        self._ticks = ticks
        self._sleep = sleep
        #: Requests that failed since one last succeeded, as the reconciler counts them.
        self.failures = 0

    def on_answer(self, rate_limit: RateLimit | None) -> None:
        """Take in what an answer's headers say."""
        self.budget = self.budget.answered(rate_limit, self._ticks())

    async def spend(self, request: Callable[[], Awaitable[T]]) -> T:
        """Send a request as soon as the budget allows one; it is sent again only after a 429.

        Raises what the request raises, but for `RateLimited`: that is waited out.
        """
        while True:
            while (wait := self.budget.wait(self._ticks())) > 0:
                await self._sleep(wait / SECOND)
            self.budget = self.budget.sent(self._ticks())
            try:
                answer = await request()
            except RateLimited as refusal:
                self.budget = self.budget.refused(refusal.retry_after, self._ticks())
            else:
                self.failures = 0
                return answer
