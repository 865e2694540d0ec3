"""Telemetry: turns the reports of components into metrics, events, rollups, spans and sampled calls."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from pydantic import JsonValue

from prosperstack_destination.clock import SECOND, Clock
from prosperstack_destination.errors import DestinationError
from prosperstack_destination.observability.event_writer import EventWriter
from prosperstack_destination.observability.metrics import Metrics
from prosperstack_destination.observability.tracing import SpanRecorder
from prosperstack_destination.store.account_stats import ReportedLimit
from prosperstack_destination.store.accounts import Account
from prosperstack_destination.store.activity import Event, EventKind, SentRequest
from prosperstack_destination.store.merge_calls import CommitResult
from prosperstack_destination.store.models import Call, Identify, Outcome, Profile
from prosperstack_destination.store.recent_calls import CallOutcome, IncomingCall
from prosperstack_destination.store.rollups import NO_ACCOUNT

#: Values of `Telemetry.settled`.
DELIVERED, UNCHANGED, UNMATCHED = "delivered", "unchanged", "unmatched"
#: Sampled calls per second of a process: accepted ones, ones without effect, and rejected ones. Separate limits
#: keep accepted calls from crowding out rejected ones.
ACCEPTED_PER_SECOND: Final = 10
IGNORED_PER_SECOND: Final = 5
REFUSED_PER_SECOND: Final = 5
#: Size of a bucket, in seconds of its rate: a few calls, or a small batch, are sampled completely.
BURST_SECONDS: Final = 20


class TokenBucket:
    """Token bucket with ``per_second`` tokens, which no account can empty alone.

    While less than half of the bucket is left, each account gets one token a second.
    """

    def __init__(self, per_second: int) -> None:
        self._per_second = per_second
        self._most = per_second * BURST_SECONDS
        self._left = float(self._most)
        self._at: int | None = None
        self._second = 0
        #: Accounts with a token in that second.
        self._served: set[str] = set()

    def take(self, account_id: str, now: int) -> bool:
        """Take a token for an account at ``now`` (microseconds); return False where there is none for it."""
        if self._at is not None:
            gained = max(now - self._at, 0) * self._per_second / SECOND
            self._left = min(self._left + gained, self._most)
        self._at = now
        if self._left < 1:
            return False
        if now // SECOND != self._second:
            self._second = now // SECOND
            self._served.clear()
        if self._left * 2 <= self._most and account_id in self._served:
            return False
        self._served.add(account_id)
        self._left -= 1
        return True


class CallSampler:
    """Sampler of calls. ``ticks`` is a monotonic clock in microseconds."""

    def __init__(self, ticks: Clock) -> None:
        self._ticks = ticks
        accepted, ignored, rejected = map(
            TokenBucket, (ACCEPTED_PER_SECOND, IGNORED_PER_SECOND, REFUSED_PER_SECOND)
        )
        self._buckets: Mapping[CallOutcome, TokenBucket] = {
            CallOutcome.ACCEPTED: accepted,
            CallOutcome.HELD: accepted,
            CallOutcome.ERASED: accepted,
            CallOutcome.EXPLAINED: accepted,
            CallOutcome.OUTDATED: ignored,
            CallOutcome.SKIPPED: ignored,
            CallOutcome.FILTERED: ignored,
            CallOutcome.NO_CONSENT: ignored,
            CallOutcome.IGNORED: ignored,
            CallOutcome.REFUSED: rejected,
            CallOutcome.LATER: rejected,
        }

    def should_sample(self, account_id: str, outcome: CallOutcome) -> bool:
        """Return whether to record one more call of an account; True takes a token."""
        return self._buckets[outcome].take(account_id, self._ticks())


class Telemetry:
    """Receiver of all components' reports, for metrics, the activity feed and traces. Its methods return at once.

    ``pseudonym`` returns the pseudonym of an email. ``sample`` selects recent calls; None: none are recorded.
    """

    def __init__(
        self,
        metrics: Metrics,
        events: EventWriter,
        pseudonym: Callable[[str], str],
        clock: Clock,
        traces: SpanRecorder | None = None,
        sample: CallSampler | None = None,
    ) -> None:
        self._metrics = metrics
        self._events = events
        self._pseudonym = pseudonym
        self._clock = clock
        self._traces = traces
        self._sample = sample

    def committed(self, calls: Sequence[Call], taken: CommitResult, seconds: float) -> None:
        """Report calls that a transaction of ``seconds`` committed."""
        self._metrics.commits.observe(seconds)
        for outcome in set(taken.outcomes):
            self._metrics.calls.labels(outcome.value).inc(taken.outcomes.count(outcome))
        for account_id, count in Counter(_accounts_of_accepted(calls, taken.outcomes)).items():
            self._events.rollup(account_id).accepted += count
        if len(taken.changed) == 1:  # a large audience is of one account; other backlogs are counted later
            rollup = self._events.rollup(*taken.changed)
            rollup.backlog = max(rollup.backlog, taken.newly_pending)
        self._metrics.dropped.inc(taken.dropped)
        self._metrics.merged.inc(max(taken.outcomes.count(Outcome.ACCEPTED) - taken.newly_pending, 0))
        self._events.add(
            EventKind.CALL, len(calls), lambda place: self._of_call(calls[place], taken.outcomes[place])
        )

    def call_rejected(self, error: DestinationError, account_id: str = NO_ACCOUNT) -> None:
        """Report a rejected call, of an account where its key opened one."""
        self._metrics.refused.labels(type(error).__name__).inc()
        self._events.rollup(account_id).refused += 1

    def call_left_out(self, outcome: CallOutcome, account_id: str) -> None:
        """Report a call of an account that has no effect."""
        if outcome is CallOutcome.FILTERED:
            self._events.rollup(account_id).filtered += 1
        elif outcome is CallOutcome.NO_CONSENT:
            self._events.rollup(account_id).no_consent += 1
        else:
            return
        self._metrics.calls.labels(outcome.value).inc()

    def should_sample(self, account_id: str, outcome: CallOutcome) -> bool:
        """Return whether to record one more call of an account with this outcome."""
        return self._sample is not None and self._sample.should_sample(account_id, outcome)

    def record_call(self, call: IncomingCall) -> None:
        """Record a sampled call, or an operator's test call."""
        if self._sample is not None:
            self._events.add_call(call)

    def request_sent(self, account_id: str, kind: str, status: int | None, seconds: float) -> None:
        """Report a request to ProsperStack; ``status`` is None without a response."""
        word = "none" if status is None else str(status)
        self._metrics.requests.labels(kind, word).inc()
        self._metrics.request_times.observe(seconds)
        if self._traces is not None:
            self._traces.record_sent_request(kind, status, seconds)
        rollup = self._events.rollup(account_id)
        rollup.requests += 1
        rollup.failed += status is None or status // 100 != 2

    def sent(self, sent: SentRequest) -> None:
        """Report a request for an account. Successful ones without an email are not in the activity feed."""
        if sent.succeeded:
            self._events.rollup(sent.account_id).properties += len(sent.properties)
            if sent.email is None:
                return
        details: dict[str, JsonValue] = {"request": sent.request}
        if sent.target is not None:
            details["id"] = sent.target
        if sent.properties:
            details["properties"] = list(sent.properties)
        details["ms"] = round(sent.seconds * 1000)
        if sent.error:
            details["said"] = sent.error
        word = "none" if sent.status is None else str(sent.status)
        self._add(sent.account_id, EventKind.REQUEST, word, sent.email, details)

    def budget(self, account: Account, limit: int, remaining: int, reset_seconds: float) -> None:
        """Report an account's rate limit, from the headers of a response."""
        self._metrics.set_budget(account.fingerprint, limit, remaining)
        self._events.set_rate_limit(account.id, ReportedLimit(limit, remaining, reset_seconds, self._clock()))

    def settled(self, profile: Profile, how: str) -> None:
        """Report a settled profile; ``how`` is `DELIVERED`, `UNCHANGED` or `UNMATCHED`."""
        self._metrics.settled.labels(how).inc()
        rollup = self._events.rollup(profile.account_id)
        rollup.delivered += how == DELIVERED
        rollup.unchanged += how == UNCHANGED
        rollup.unmatched += how == UNMATCHED
        if how == DELIVERED and profile.pending_since is not None:
            seconds = max(self._clock() - profile.pending_since, 0) / SECOND
            self._metrics.freshness.observe(seconds)
            rollup.record_delivery(seconds)
        self._add(profile.account_id, EventKind.DELIVERY, how, profile.email)

    def cancel_flow(self, account_id: str, email: str | None, outcome: str) -> None:
        """Report a cancel flow that ProsperStack announced."""
        self._metrics.cancel_flows.labels(outcome).inc()
        self._add(account_id, EventKind.CANCEL_FLOW, outcome, email)

    def _of_call(self, call: Call, outcome: Outcome) -> Event:
        if not isinstance(call, Identify):
            return self._event(call.account_id, EventKind.CALL, outcome.value, None, {})
        details: dict[str, JsonValue] = {"traits": len(call.traits)}
        if call.source is not None:
            details |= {"from": call.source.kind.value, "key": call.source.key}
        return self._event(call.account_id, EventKind.CALL, outcome.value, call.email, details)

    def _add(
        self,
        account_id: str,
        kind: EventKind,
        outcome: str,
        email: str | None,
        details: dict[str, JsonValue] | None = None,
    ) -> None:
        self._events.add(kind, 1, lambda _: self._event(account_id, kind, outcome, email, details or {}))

    def _event(
        self, account_id: str, kind: EventKind, outcome: str, email: str | None, details: dict[str, JsonValue]
    ) -> Event:
        subject = None if email is None else self._pseudonym(email)
        return Event(account_id, self._clock(), kind, outcome, subject, details)


def _accounts_of_accepted(calls: Sequence[Call], outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Yield the account of each accepted call."""
    for call, outcome in zip(calls, outcomes, strict=True):
        if outcome is not Outcome.UNKNOWN:
            yield call.account_id
