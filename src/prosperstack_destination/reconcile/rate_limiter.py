"""How many requests an account may spend."""

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import replace
from typing import Final, TypeVar

import structlog
from sqlalchemy import Connection

from prosperstack_destination.clock import SECOND, Clock
from prosperstack_destination.errors import (
    ProsperStackAuthError,
    ProsperStackError,
    ProsperStackRateLimited,
    ProsperStackUnavailable,
)
from prosperstack_destination.prosperstack.budget import Budget, RateLimit, Ticket
from prosperstack_destination.prosperstack.forecast import DEFAULT_LIMIT, DEFAULT_WINDOW_SECONDS, Rate
from prosperstack_destination.reconcile.failure_streaks import FailureStreaks
from prosperstack_destination.reconcile.planner import SpendHistory
from prosperstack_destination.store import rate_limits
from prosperstack_destination.store.accounts import Account
from prosperstack_destination.store.rate_limits import ReportedLimit


def effective_rate(reported: ReportedLimit | None, reserve: float) -> Rate:
    """What may be spent of a limit: as told, else as ProsperStack documents it."""
    if reported is None:
        return Rate(DEFAULT_LIMIT, DEFAULT_WINDOW_SECONDS, reserve)
    return Rate(reported.limit, max(reported.window_seconds, 1.0), reserve)


def account_rate(connection: Connection, account: Account, reserve: float) -> Rate:
    """What an account may spend, by what it was told last.

    ``reserve`` is the part that is left for its owner where none was chosen for the account.
    """
    return effective_rate(rate_limits.of_account(connection, account.id), account.reserve_or(reserve))


log = structlog.get_logger(__name__)

T = TypeVar("T")

#: 429s in a row that are waited out; after that the account counts as failing, for people to see.
MAX_RATE_LIMITED: Final = 5

#: Nobody sleeps for longer at a time, in microseconds: what else was chosen meanwhile is to count soon.
MAX_SLEEP: Final = 2 * SECOND

#: Waits that many seconds. Handed in, so that tests own the time.
Sleep = Callable[[float], Awaitable[None]]

#: The request that this task is sending: its client tells of an answer, and cannot know which of the
#: overlapping requests of the account it belongs to.
_sending: ContextVar[Ticket | None] = ContextVar("sending", default=None)


class RateLimiter:
    """The request budget of one account, in use. Requests may overlap.

    ``ticks`` is a clock that is never set back (monotonic), in microseconds.
    """

    def __init__(self, reserve: float, ticks: Clock, sleep: Sleep = asyncio.sleep) -> None:
        self.budget = Budget(reserve=reserve)
        #: What the requests went to, for the next plan.
        self.history = SpendHistory()
        self._ticks = ticks
        self._sleep = sleep
        #: How often the account has waited since it last worked, as the reconciler counts it.
        self.failures = 0
        self.streaks = FailureStreaks()

    def set_reserve(self, reserve: float) -> bool:
        """Leave this part of each window to the account's owner from now on; whether it was another before."""
        changed = reserve != self.budget.reserve
        self.budget = replace(self.budget, reserve=reserve)
        return changed

    def on_answer(self, rate_limit: RateLimit | None) -> None:
        """Take in what the headers of the answer to this task's request say."""
        ticket = _sending.get()
        if ticket is not None:
            _sending.set(None)
            self.budget = self.budget.answered(ticket, rate_limit, self._ticks())

    def wait(self, *, urgent: bool = False) -> int:
        """How long until a request may go, in microseconds; 0: now."""
        return self.budget.wait(self._ticks(), urgent=urgent)

    async def send(
        self,
        request: Callable[[], Awaitable[T]],
        *,
        urgent: bool = False,
        kind: str = "",
        subject: str | None = None,
        attempts: int = 0,
    ) -> T:
        """Send a request as soon as the budget allows one; it is sent again only after a 429.

        ``kind``, ``who`` and ``attempts`` say how a failure counts: see `FailureStreaks.failed`.

        Raises what the request raises, but `ProsperStackRateLimited` only if it goes on: it is waited out first.
        """
        while True:
            while (wait := self.wait(urgent=urgent)) > 0:
                await self._sleep(min(wait, MAX_SLEEP) / SECOND)
            self.budget = self.budget.sent(self._ticks())
            _sending.set(self.budget.ticket)
            try:
                answer = await request()
            except ProsperStackRateLimited as refusal:
                self.budget = self.budget.refused(refusal.retry_after, self._ticks())
                if self.budget.refusals > MAX_RATE_LIMITED:
                    self.streaks.refused(kind)
                    raise
                log.info("the rate limit is spent", seconds=self.wait(urgent=True) / SECOND)
            except ProsperStackUnavailable:
                self.streaks.failed(kind, subject, attempts)
                raise
            except ProsperStackAuthError:
                self.streaks.refused(kind)
                raise
            except ProsperStackError:
                self.streaks.succeeded(kind)  # it answered
                raise
            else:
                self.streaks.succeeded(kind)
                return answer
            finally:
                self.on_answer(None)  # no answer came, if it has not been told yet
