"""The metrics, in a registry of their own. Labels are bounded: accounts, kinds and statuses, and never an email."""

from collections.abc import Iterable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from prosperstack_destination.clock import SECOND
from prosperstack_destination.store.account_stats import AccountStats

#: From a call's arrival to its delivery, in seconds: a moment, or the hours that a first sync takes.
FRESHNESS_BUCKETS: Final = (0.5, 1, 2.5, 5, 10, 15, 30, 60, 300, 900, 3_600, 4 * 3_600, 12 * 3_600, 24 * 3_600)
#: Of a transaction, in seconds.
COMMIT_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
#: Of a request to ProsperStack, in seconds.
REQUEST_BUCKETS: Final = (0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20)

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_PREFIX: Final = "prosperstack_destination_"


class Metrics:
    """What is counted. Each has to be told; `text` renders them."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.calls = self._counter("calls", "Calls on disk or turned down, by what became of them", "outcome")
        self.refused = self._counter("calls_refused", "Calls that were refused, by the reason", "reason")
        self.merged = self._counter(
            "calls_merged", "Accepted calls that joined what waited already, or said nothing new"
        )
        self.dropped = self._counter("traits_dropped", "Traits that full profiles had no room for")
        self.settled = self._counter(
            "settled", "Profiles settled: delivered, found to be so already, or unmatched", "how"
        )
        self.cancel_flows = self._counter("cancel_flows", "Cancel flows that ProsperStack told of", "outcome")
        self.requests = self._counter("requests", "Requests to ProsperStack", "kind", "status")
        self.events_left_out = self._counter("events_left_out", "Events that the feed had no room for")
        self.freshness = self._histogram(
            "freshness_seconds", "From a call's arrival to its delivery", FRESHNESS_BUCKETS
        )
        self.commits = self._histogram("commit_seconds", "A transaction that takes calls in", COMMIT_BUCKETS)
        self.request_times = self._histogram("request_seconds", "A request to ProsperStack", REQUEST_BUCKETS)
        self._budget = self._gauge("budget_remaining", "Requests left of the window, as told last", "account")
        self._limit = self._gauge("budget_limit", "Requests of a window, as told last", "account")
        self._backlog = self._gauge("backlog", "Profiles that are not settled", "account")
        self._failing = self._gauge(
            "failing", "Profiles whose latest attempt failed, and that are tried again", "account"
        )
        self._rejected = self._gauge("rejected", "Profiles whose email ProsperStack rejects", "account")
        self._erasures = self._gauge(
            "failing_erasures", "Erasures that ProsperStack has not carried out although it was asked", "account"
        )
        self._oldest = self._gauge("oldest_pending_seconds", "How long the oldest change waits", "account")
        self._active = self._gauge("account_active", "1 where ProsperStack takes the account's key", "account")

    def set_budget(self, account: str, limit: int, remaining: int) -> None:
        """What an account's rate limit was told to be."""
        self._limit.labels(account).set(limit)
        self._budget.labels(account).set(remaining)

    def set_account_stats(self, accounts: Iterable[AccountStats], now: int) -> None:
        """How the accounts stand as of a time (microseconds)."""
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
        """All of them, in the form that Prometheus reads."""
        return generate_latest(self._registry)

    def _counter(self, name: str, what: str, *labels: str) -> Counter:
        return Counter(_PREFIX + name, what, labels, registry=self._registry)

    def _gauge(self, name: str, what: str, *labels: str) -> Gauge:
        return Gauge(_PREFIX + name, what, labels, registry=self._registry)

    def _histogram(self, name: str, what: str, buckets: Iterable[float]) -> Histogram:
        return Histogram(_PREFIX + name, what, buckets=tuple(buckets), registry=self._registry)
