"""Prometheus metrics in their own registry. Labels are bounded: accounts, kinds and statuses; never an email."""

from collections.abc import Iterable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from prosperstack_destination.clock import SECOND
from prosperstack_destination.store.account_stats import AccountStats

#: Buckets of the time from a call's receipt to its delivery, in seconds; a first sync takes hours.
FRESHNESS_BUCKETS: Final = (0.5, 1, 2.5, 5, 10, 15, 30, 60, 300, 900, 3_600, 4 * 3_600, 12 * 3_600, 24 * 3_600)
#: Buckets of a transaction's time, in seconds.
COMMIT_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
#: Buckets of the time of a request to ProsperStack, in seconds.
REQUEST_BUCKETS: Final = (0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20)

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_PREFIX: Final = "prosperstack_destination_"


class Metrics:
    """All metrics. `render` returns them in Prometheus' text format."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
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

    def render(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self._registry)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(_PREFIX + name, text, labels, registry=self._registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(_PREFIX + name, text, labels, registry=self._registry)

    def _histogram(self, name: str, text: str, buckets: Iterable[float]) -> Histogram:
        return Histogram(_PREFIX + name, text, buckets=tuple(buckets), registry=self._registry)
