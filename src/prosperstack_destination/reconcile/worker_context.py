"""What the parts of one account's worker share."""

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
from prosperstack_destination.store.database import UnitOfWork
from prosperstack_destination.store.events import SentRequest
from prosperstack_destination.store.models import Profile

T = TypeVar("T")

#: What the client takes for success, all of it.
_SUCCESS: Final = 200


class ReconcileObserver(Protocol):
    """Looks at the work, without holding it up."""

    def settled(self, profile: Profile, how: str) -> None:
        """A profile is settled: "delivered", "unchanged" (nothing had to be sent) or "unmatched"."""

    def sent(self, sent: SentRequest) -> None:
        """A request was sent, and answered or not."""


class NullReconcileObserver:
    """An `Observer` that does not look."""

    def settled(self, profile: Profile, how: str) -> None:
        """See `Observer`."""

    def sent(self, sent: SentRequest) -> None:
        """See `Observer`."""


@dataclass(frozen=True, slots=True)
class RequestInfo:
    """What a request is about."""

    #: What is asked, without whom it is about, as in ``PATCH /subscribers/{id}``.
    request: str
    #: Whose it is; None: nobody's in particular.
    email: str | None = None
    #: The subscriber or the subscription, by its id, where it names one.
    target: str | None = None
    properties: Mapping[str, PropertyValue] = field(default_factory=dict)
    #: How many attempts in a row failed before.
    attempts: int = 0

    @property
    def kind(self) -> str:
        """The kind of request whose failures are counted together; a listing is another kind than a look-up."""
        return self.request if self.who is not None else f"{self.request} (no person)"

    @property
    def who(self) -> str | None:
        """The person or the subscriber whose request it is."""
        return self.email or self.target


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """One account, and what it is worked on with."""

    account_id: str
    database: UnitOfWork
    prosperstack: ProsperStackClient
    spender: RateLimiter
    #: The wall's clock.
    clock: Clock
    log: structlog.stdlib.BoundLogger
    observer: ReconcileObserver

    async def send(self, about: RequestInfo, request: Callable[[], Awaitable[T]], *, urgent: bool = False) -> T:
        """Send a request as soon as the budget allows one, and tell of it: see `RateLimiter.send`."""
        return await self.spender.send(
            partial(self._observed, about, request),
            urgent=urgent,
            kind=about.kind,
            who=about.who,
            attempts=about.attempts,
        )

    async def _observed(self, about: RequestInfo, request: Callable[[], Awaitable[T]]) -> T:
        begun = self.clock()
        try:
            answer = await request()
        except ProsperStackError as error:
            self._tell(about, begun, error.status_code, str(error))
            raise
        self._tell(about, begun, _SUCCESS, "")
        return answer

    def _tell(self, about: RequestInfo, begun: int, status: int | None, words: str) -> None:
        values = [*about.properties.values(), about.email]
        self.observer.sent(
            SentRequest(
                account_id=self.account_id,
                request=about.request,
                email=about.email,
                target=about.target,
                properties=tuple(sorted(about.properties)),
                status=status,
                seconds=max(self.clock() - begun, 0) / SECOND,
                words=redact(words, values, about.properties),
            )
        )
