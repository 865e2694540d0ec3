"""The rate limiter of one account: sends requests within its budget."""

import asyncio
import math
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
from prosperstack_destination.reconcile.backoff import FailureStreaks
from prosperstack_destination.reconcile.planner import SpendHistory
from prosperstack_destination.store import account_stats
from prosperstack_destination.store.account_stats import ReportedLimit
from prosperstack_destination.store.accounts import Account


def effective_rate(reported: ReportedLimit | None, reserve: float) -> Rate:
    """Return the rate of a limit: as reported, else ProsperStack's documented default."""
    if reported is None:
        return Rate(DEFAULT_LIMIT, DEFAULT_WINDOW_SECONDS, reserve)
    return Rate(reported.limit, max(reported.window_seconds, 1.0), reserve)


def account_rate(connection: Connection, account: Account, reserve: float) -> Rate:
    """Return the rate of an account, by the limit that was reported last.

    ``reserve`` is the share left to the owner where the account sets none.
    """
    return effective_rate(account_stats.reported_limit(connection, account.id), account.reserve_or(reserve))


log = structlog.get_logger(__name__)

T = TypeVar("T")

#: Responses with 429 in a row that are waited out; after that the account counts as failing, so that operators see
#: it. And those of one request, after which its profile counts as failing.
MAX_RATE_LIMITED: Final = 5
MAX_RATE_LIMITED_REQUEST: Final = 2

#: Bounds of the requests in flight. Before the answer time is known the smaller one holds.
MIN_IN_FLIGHT: Final = 32
MAX_IN_FLIGHT: Final = 256
#: Weight of the latest response in the mean answer time.
ANSWER_TIME_WEIGHT: Final = 0.1

#: Longest sleep at a time, in microseconds: a change of the reserve takes effect within it.
MAX_SLEEP: Final = 2 * SECOND

#: Sleeps for some seconds. A parameter, so that tests control the time.
Sleep = Callable[[float], Awaitable[None]]

#: Ticket of the request that this task is sending. The client reports a response without knowing to which of the
#: overlapping requests it belongs.
_sending: ContextVar[Ticket | None] = ContextVar("sending", default=None)


class RateLimiter:
    """Request budget of one account, in use. Requests may overlap.

    ``ticks`` is a monotonic clock in microseconds.
    """

    def __init__(self, reserve: float, ticks: Clock, sleep: Sleep = asyncio.sleep) -> None:
        self.budget = Budget(reserve=reserve)
        #: Recent requests, for the planner.
        self.history = SpendHistory()
        self._ticks = ticks
        self._sleep = sleep
        #: Backoffs of the account since it last worked, as the reconciler counts them.
        self.failures = 0
        self.streaks = FailureStreaks()
        #: Mean time of the latest responses, in microseconds.
        self._answer_time = 0.0

    @property
    def max_in_flight(self) -> int:
        """Requests that may be in flight at once: twice the limit times the answer time, by Little's law."""
        return min(max(math.ceil(2 * self._answer_time / self.budget.interval), MIN_IN_FLIGHT), MAX_IN_FLIGHT)

    def set_reserve(self, reserve: float) -> bool:
        """Set the share of each window that is left to the account's owner; return whether it changed."""
        changed = reserve != self.budget.reserve
        self.budget = replace(self.budget, reserve=reserve)
        return changed

    def on_answer(self, rate_limit: RateLimit | None) -> None:
        """Apply the rate limit that the response to this task's request reported."""
        ticket = _sending.get()
        if ticket is not None:
            _sending.set(None)
            if rate_limit is not None:
                took = self._ticks() - ticket.sent_at
                self._answer_time += ANSWER_TIME_WEIGHT * (took - self._answer_time)
            self.budget = self.budget.answered(ticket, rate_limit, self._ticks())

    def wait(self, *, urgent: bool = False) -> int:
        """Return the time until a request may go, in microseconds; 0: now."""
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
        """Send a request as soon as the budget allows it. Only a 429 is retried.

        ``kind``, ``subject`` and ``attempts`` decide how a failure counts: see `FailureStreaks.failed`.

        Raises what the request raises; `ProsperStackRateLimited` only after `MAX_RATE_LIMITED` in a row, or
        `MAX_RATE_LIMITED_REQUEST` of this request. A subject that failed before has no such patience: a 429 for one
        profile alone must not delay the others again and again.
        """
        refusals = 0
        while True:
            while (wait := self.wait(urgent=urgent)) > 0:
                await self._sleep(min(wait, MAX_SLEEP) / SECOND)
            self.budget = self.budget.sent(self._ticks())
            _sending.set(self.budget.ticket)
            try:
                answer = await request()
            except ProsperStackRateLimited as refusal:
                self.budget = self.budget.refused(refusal.retry_after, self._ticks())
                refusals += 1
                if self.budget.refusals > MAX_RATE_LIMITED:
                    self.streaks.refused(kind)
                    raise
                if subject is not None and refusals > (0 if attempts else MAX_RATE_LIMITED_REQUEST):
                    self.streaks.failed(kind, subject, attempts)
                    raise
                log.info("the rate limit is spent", seconds=self.wait(urgent=True) / SECOND)
            except ProsperStackUnavailable:
                self.streaks.failed(kind, subject, attempts)
                raise
            except ProsperStackAuthError:
                self.streaks.refused(kind)
                raise
            except ProsperStackError:
                self.streaks.succeeded(kind)  # ProsperStack responded
                raise
            else:
                self.streaks.succeeded(kind)
                return answer
            finally:
                self.on_answer(None)  # without effect if a response was reported
