"""Prometheus metrics in their own registry, and their route.

Labels are bounded: accounts, kinds and statuses; never an email.
"""

import hmac
import time
from collections.abc import Iterable
from typing import Final

from fastapi import APIRouter
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import Metric
from starlette.requests import Request
from starlette.responses import Response

from prosperstack_destination.clock import SECOND, Clock
from prosperstack_destination.errors import StoreUnavailable
from prosperstack_destination.store import account_stats
from prosperstack_destination.store.account_stats import AccountStats
from prosperstack_destination.store.database import Database

#: Buckets of the time from a call's receipt to its delivery, in seconds; a first sync takes hours.
FRESHNESS_BUCKETS: Final = (0.5, 1, 2.5, 5, 10, 15, 30, 60, 300, 900, 3_600, 4 * 3_600, 12 * 3_600, 24 * 3_600)
#: Buckets of a transaction's time, in seconds.
COMMIT_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
#: Buckets of the time of a request to ProsperStack, in seconds.
REQUEST_BUCKETS: Final = (0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20)

#: Part of the time that may go into writing the text: it is reused for this many times as long as it took to write.
TEXT_REUSE: Final = 20

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_PREFIX: Final = "prosperstack_destination_"


class Metrics:
    """All metrics. `render` returns them in Prometheus' text format."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        #: The latest text, and until when it is reused (monotonic clock, seconds).
        self._text = b""
        self._reused_until = 0.0
        self.calls = self._counter("calls", "Committed or rejected calls, by outcome", "outcome")
        self.refused = self._counter("calls_refused", "Rejected calls, by error class", "reason")
        self.merged = self._counter(
            "calls_merged", "Accepted calls that joined a waiting change, or changed nothing"
        )
        self.dropped = self._counter("traits_dropped", "Traits dropped from full profiles")
        self.settled = self._counter("settled", "Settled profiles: delivered, unchanged or unmatched", "how")
        self.cancel_flows = self._counter("cancel_flows", "Cancel flows reported by ProsperStack", "outcome")
        self.requests = self._counter("requests", "Requests to ProsperStack", "kind", "status")
        self.events_left_out = self._counter("events_left_out", "Events dropped from the activity feed")
        self.freshness = self._histogram(
            "freshness_seconds", "Time from a call's receipt to its delivery", FRESHNESS_BUCKETS
        )
        self.commits = self._histogram("commit_seconds", "Time of a transaction that commits calls", COMMIT_BUCKETS)
        self.request_times = self._histogram(
            "request_seconds", "Time of a request to ProsperStack", REQUEST_BUCKETS
        )
        self._budget = self._gauge("budget_remaining", "Requests left in the window, as last reported", "account")
        self._limit = self._gauge("budget_limit", "Requests of a window, as last reported", "account")
        self._backlog = self._gauge("backlog", "Profiles that are not settled", "account")
        self._failing = self._gauge("failing", "Profiles with a failed attempt, waiting for a retry", "account")
        self._rejected = self._gauge("rejected", "Profiles whose email ProsperStack rejects", "account")
        self._erasures = self._gauge("failing_erasures", "Erasures that failed at ProsperStack", "account")
        self._oldest = self._gauge("oldest_pending_seconds", "Age of the oldest waiting change", "account")
        self._active = self._gauge("account_active", "1 while ProsperStack accepts the account's key", "account")

    def set_budget(self, account: str, limit: int, remaining: int) -> None:
        """Set the reported rate limit of an account, in requests of a window."""
        self._limit.labels(account).set(limit)
        self._budget.labels(account).set(remaining)

    def set_account_stats(self, accounts: Iterable[AccountStats], now: int) -> None:
        """Set the gauges of all accounts as of ``now`` (microseconds); remove those of other accounts."""
        gauges = (self._backlog, self._oldest, self._active, self._failing, self._rejected, self._erasures)
        for gauge in gauges:
            gauge.clear()
        for each in accounts:
            oldest = 0.0 if each.oldest_at is None else max(now - each.oldest_at, 0) / SECOND
            self._backlog.labels(each.fingerprint).set(each.backlog)
            self._oldest.labels(each.fingerprint).set(oldest)
            self._failing.labels(each.fingerprint).set(each.failures.waiting)
            self._rejected.labels(each.fingerprint).set(each.failures.rejected)
            self._erasures.labels(each.fingerprint).set(each.failures.erasures)
            self._active.labels(each.fingerprint).set(each.status == "active")
        self._reused_until = 0.0

    def collect(self) -> Iterable[Metric]:
        """Return all metrics with their samples."""
        return self._registry.collect()

    def render(self) -> bytes:
        """Return all metrics in Prometheus' text format. A flood of requests shares one text."""
        begun = time.monotonic()
        if begun >= self._reused_until:
            self._text = generate_latest(self._registry)
            ended = time.monotonic()
            self._reused_until = ended + TEXT_REUSE * (ended - begun)
        return self._text

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(_PREFIX + name, text, labels, registry=self._registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(_PREFIX + name, text, labels, registry=self._registry)

    def _histogram(self, name: str, text: str, buckets: Iterable[float]) -> Histogram:
        return Histogram(_PREFIX + name, text, buckets=tuple(buckets), registry=self._registry)


#: Time to live of the accounts' statistics, in microseconds: counting a long backlog takes a moment.
STATS_TTL: Final = 5 * SECOND


class AccountGauges:
    """Gauges of accounts, from the database: counted again when they are older than `STATS_TTL`."""

    def __init__(self, metrics: Metrics, database: Database, clock: Clock) -> None:
        self._metrics = metrics
        self._database = database
        self._clock = clock
        self._counted_at: int | None = None

    async def refresh(self) -> None:
        """Count the accounts' statistics where they are too old; without the database, leave the gauges out."""
        now = self._clock()
        if self._counted_at is not None and 0 <= now - self._counted_at < STATS_TTL:
            return
        self._counted_at = now
        try:
            self._metrics.set_account_stats(await self._database.read(account_stats.of_accounts, now), now)
        except StoreUnavailable:
            self._metrics.set_account_stats([], now)  # the other metrics are known


def metrics_router(metrics: Metrics, accounts: AccountGauges, token: str | None) -> APIRouter:
    """Return the router. With a ``token``, a request needs it (``Authorization: Bearer``)."""
    router = APIRouter(tags=["operations"])

    @router.head("/metrics", include_in_schema=False)
    @router.get("/metrics", response_class=Response)
    async def show(request: Request) -> Response:
        """Return the metrics in Prometheus' text format."""
        if token is not None and not _has_token(request, token):
            return Response("The token is missing or wrong.\n", 401, {"WWW-Authenticate": "Bearer"}, "text/plain")
        await accounts.refresh()
        return Response(metrics.render(), 200, media_type=CONTENT_TYPE)

    return router


def _has_token(request: Request, token: str) -> bool:
    scheme, _, shown = request.headers.get("authorization", "").partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(shown.strip().encode(), token.encode())
