"""Shared state of one account's worker: database, client, rate limiter, clock, observer."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Protocol, TypeVar

import structlog

from prosperstack_destination.clock import SECOND, Clock
from prosperstack_destination.errors import ProsperStackError
from prosperstack_destination.mapping.coercion import PropertyValue
from prosperstack_destination.prosperstack.client import ProsperStackClient
from prosperstack_destination.reconcile.rate_limiter import RateLimiter
from prosperstack_destination.reconcile.redaction import redact
from prosperstack_destination.store.activity import SentRequest
from prosperstack_destination.store.database import UnitOfWork
from prosperstack_destination.store.models import Profile

T = TypeVar("T")

#: Status that is reported for every successful response.
_SUCCESS: Final = 200


class ReconcileObserver(Protocol):
    """Receives the reconciler's events. It must not block."""

    def settled(self, profile: Profile, how: str) -> None:
        """Handle a settled profile. ``how`` is "delivered", "unchanged" (nothing to send) or "unmatched"."""

    def sent(self, sent: SentRequest) -> None:
        """Handle a request that was sent, whether or not a response came."""


class NullReconcileObserver:
    """Ignores all events."""

    def settled(self, profile: Profile, how: str) -> None:
        """Ignore."""

    def sent(self, sent: SentRequest) -> None:
        """Ignore."""


@dataclass(frozen=True, slots=True)
class RequestInfo:
    """Description of a request, for failure counts, metrics and the activity feed."""

    #: Method and path, without ids, as in ``PATCH /subscribers/{id}``.
    request: str
    #: Email of the profile; None: the request is for no profile.
    email: str | None = None
    #: Id of the subscriber or subscription in the path, if any.
    target: str | None = None
    properties: Mapping[str, PropertyValue] = field(default_factory=dict)
    #: Failed attempts in a row before this one.
    attempts: int = 0

    @property
    def kind(self) -> str:
        """Return the kind under which failures are counted. A listing is another kind than a lookup."""
        return self.request if self.subject is not None else f"{self.request} (no person)"

    @property
    def subject(self) -> str | None:
        """Return the email or the subscriber id that the request is for."""
        return self.email or self.target


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """One account, with the database, client and rate limiter that its worker uses."""

    account_id: str
    database: UnitOfWork
    prosperstack: ProsperStackClient
    rate_limiter: RateLimiter
    #: The wall clock.
    clock: Clock
    log: structlog.stdlib.BoundLogger
    observer: ReconcileObserver

    async def send(self, info: RequestInfo, request: Callable[[], Awaitable[T]], *, urgent: bool = False) -> T:
        """Send a request within the budget, and report it to the observer. See `RateLimiter.send`."""
        return await self.rate_limiter.send(
            partial(self._observed, info, request),
            urgent=urgent,
            kind=info.kind,
            subject=info.subject,
            attempts=info.attempts,
        )

    async def _observed(self, info: RequestInfo, request: Callable[[], Awaitable[T]]) -> T:
        began_at = self.clock()
        try:
            response = await request()
        except ProsperStackError as error:
            self._record(info, began_at, error.status_code, str(error))
            raise
        self._record(info, began_at, _SUCCESS, "")
        return response

    def _record(self, info: RequestInfo, began_at: int, status: int | None, text: str) -> None:
        values = [*info.properties.values(), info.email]
        self.observer.sent(
            SentRequest(
                account_id=self.account_id,
                request=info.request,
                email=info.email,
                target=info.target,
                properties=tuple(sorted(info.properties)),
                status=status,
                seconds=max(self.clock() - began_at, 0) / SECOND,
                error=redact(text, values, info.properties),
            )
        )
