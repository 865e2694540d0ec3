"""Shared state of one account's worker: database, client, rate limiter, clock, observer, requests in flight."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Protocol, TypeVar

import structlog
from pydantic import JsonValue

from prosperstack_destination.account_mapping import AccountMapping
from prosperstack_destination.clock import SECOND, Clock
from prosperstack_destination.errors import ProsperStackError
from prosperstack_destination.mapping.coercion import PropertyValue
from prosperstack_destination.prosperstack.client import ProsperStackClient
from prosperstack_destination.reconcile.rate_limiter import RateLimiter
from prosperstack_destination.reconcile.redaction import redact
from prosperstack_destination.store.activity import SentRequest
from prosperstack_destination.store.database import UnitOfWork
from prosperstack_destination.store.models import Profile
from prosperstack_destination.store.subscribers import Subscriber, SubscriberSnapshot

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

    #: Method and path, without ids, e.g. ``PATCH /subscribers/{id}``.
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
class Delivery:
    """Update that ProsperStack applied."""

    profile: Profile
    subscriber: Subscriber
    sent: Mapping[str, PropertyValue]
    #: All values in ProsperStack's response.
    observed: Mapping[str, JsonValue]
    #: The subscriber where it has another email now.
    moved_to: SubscriberSnapshot | None
    mapping: AccountMapping
    #: Time of the request, in microseconds.
    asked_at: int


@dataclass(frozen=True, slots=True)
class DeliveryResult:
    """Result of a stored delivery."""

    #: Nothing is left to do for the profile.
    settled: bool
    #: The subscriber has another email now.
    moved: bool


#: Stores a delivery, and returns once it is on disk. Raises `LeaseLost` and `StoreUnavailable`.
StoreDelivery = Callable[[Delivery], Awaitable[DeliveryResult]]


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
    store_delivery: StoreDelivery

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


OnEnd = Callable[["asyncio.Task[None]", int | None], None]


@dataclass(frozen=True, slots=True)
class _InFlightRequest:
    profile_id: int | None
    writes_to: Collection[str]


@dataclass(slots=True)
class InFlight:
    """Requests that run concurrently."""

    #: Called with the task of each finished request, and its profile.
    on_end: OnEnd
    _tasks: "dict[asyncio.Task[None], _InFlightRequest]" = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._tasks)

    async def start(
        self, request: Coroutine[Any, Any, None], profile_id: int | None = None, writes_to: Collection[str] = ()
    ) -> None:
        """Start a request, and return once it counts in the budget.

        ``profile_id`` is the profile that it is for; ``writes_to`` are ids of the subscribers that it writes to.
        """
        task = asyncio.create_task(request)
        self._tasks[task] = _InFlightRequest(profile_id, writes_to)
        task.add_done_callback(self._ended)
        await asyncio.sleep(0)

    def profiles(self) -> set[int]:
        """Return the profiles that have a request in flight."""
        return {each.profile_id for each in self._tasks.values() if each.profile_id is not None}

    async def wait_for_writes(self, subscriber_id: str) -> None:
        """Wait until no request in flight writes to a subscriber."""
        writing = [task for task, each in self._tasks.items() if subscriber_id in each.writes_to]
        if writing:
            await asyncio.wait(writing)

    async def drain(self, *, cancel: bool = False) -> None:
        """Wait until all requests have ended; ``cancel``: cancel them."""
        if cancel:
            for task in self._tasks:
                task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self.on_end(task, self._tasks.pop(task).profile_id)
