"""Ingest service: commits the valid events of a request, and returns the result of each event."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Generic, TypeVar

from pydantic import JsonValue

from prosperstack_destination.clock import Clock
from prosperstack_destination.errors import CallError, DestinationError
from prosperstack_destination.ingest.fair_share import FairTurns
from prosperstack_destination.ingest.identify_call import field_names
from prosperstack_destination.ingest.observer import IngestObserver, to_call_record
from prosperstack_destination.ingest.parser import ParsedDelete, ParsedIdentify
from prosperstack_destination.ingest.request_body import parse_object
from prosperstack_destination.ingest.responses import IngestResult, Result, outcome_of, result_of
from prosperstack_destination.mapping.call_rules import CallRules, load_call_rules
from prosperstack_destination.store.accounts import Account, HoldUnknown
from prosperstack_destination.store.group_commit import CallSink
from prosperstack_destination.store.json_codec import dump
from prosperstack_destination.store.models import Call, Delete, Identify
from prosperstack_destination.store.recent_calls import CallOutcome, Channel

#: Maximum number of events of a small request, which is committed at once and needs no turn.
SMALL_REQUEST: Final = 20
#: Time for which events are parsed before other tasks have their turn, in seconds.
PARSE_SECONDS: Final = 0.002

Event = TypeVar("Event")


@dataclass(frozen=True, slots=True)
class EventCodec(Generic[Event]):
    """Parser and serializer for one form of events."""

    #: Parses an event as of a time (microseconds), by the account's call rules. Returns the content, or a result
    #: for an event without effect; and the event's size in memory, in bytes. Raises `CallError`.
    read: Callable[[Event, int, CallRules | None], tuple[ParsedIdentify | ParsedDelete | IngestResult, int]]
    #: Returns the event as text.
    text: Callable[[Event], bytes]


def invalid_emails_of(parsed: ParsedIdentify | ParsedDelete) -> Mapping[str, str]:
    """Return the reasons of a call's invalid values in email fields, by field path."""
    return parsed.invalid_emails if isinstance(parsed, ParsedIdentify) else {}


def to_call(parsed: ParsedIdentify | ParsedDelete, account: Account, now: int, size: int) -> Call:
    """Return the account's call to commit, received at ``now`` (microseconds), with its size in bytes."""
    if isinstance(parsed, ParsedDelete):
        return Delete(account.id, parsed.user_id, parsed.at, now, size)
    return Identify(
        account_id=account.id,
        email=parsed.email,
        address=parsed.address,
        traits={**parsed.traits, **parsed.facts} if parsed.facts else parsed.traits,
        at=parsed.at,
        received_at=now,
        user_id=parsed.user_id,
        anonymous_id=parsed.anonymous_id,
        source=None if parsed.previous_id is not None else parsed.source,
        size=size,
        id_email=parsed.id_email,
        previous_id=parsed.previous_id,
        may_be_held=account.hold_unknown is HoldUnknown.ALL and parsed.previous_id is None,
    )


def call_rules_of(account: Account) -> CallRules | None:
    """Return what the account's mapping says about calls; None for nothing, as for most accounts."""
    return None if account.intake is None else load_call_rules(account.intake)


class _EventOrder:
    """Event times that keep the order of the calls of one request.

    Calls without a time share the time of their request. Each further call of the same time gets one more
    microsecond, so that a later call wins, also over a deletion between two calls. The result is the same for a
    repeated request.
    """

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}

    def next_time(self, at: int) -> int:
        """Return the event time (microseconds) of the next call."""
        count = self._counts.get(at, 0)
        self._counts[at] = count + 1
        return at + count


class IngestService:
    """Commits events of accounts, and reports each event to an observer."""

    def __init__(self, calls: CallSink, clock: Clock, observer: IngestObserver) -> None:
        self._calls = calls
        self._clock = clock
        self._observer = observer
        #: Turns of large requests, so that they do not delay the requests of other accounts.
        self._turns = FairTurns(lambda: calls.piece)

    async def ingest_many(
        self, account: Account, channel: Channel, events: Sequence[Event], codec: EventCodec[Event]
    ) -> list[Result]:
        """Return the result of each event, in their order; accepted events are on disk.

        Events are parsed and committed in pieces, in order, each in a turn of its account: a request holds only one
        piece in memory. Raises a `TemporaryError` where the database accepts no more. Sending all events again
        is safe.
        """
        batch = _Batch(account, channel, self._clock(), call_rules_of(account))
        if len(events) <= SMALL_REQUEST:
            return await self._commit(batch, await self._parse(batch, events, codec), codec)
        results: list[Result] = []
        while len(results) < len(events):
            events_of_piece = events[len(results) : len(results) + self._calls.piece]
            async with self._turns.turn(account.id, len(events_of_piece)):
                piece = await self._parse(batch, events_of_piece, codec)
                results += await self._commit(batch, piece, codec, bulk=True)
        return results

    async def ingest_one(
        self, account: Account, channel: Channel, text: bytes, call: Call, invalid_emails: Mapping[str, str]
    ) -> Result:
        """Return the result of a call; an accepted call is on disk. Raises a `TemporaryError`.

        ``invalid_emails`` are those of the parsed call: see `result_of`.
        """
        [outcome] = await self._calls.accept([call])
        result = result_of(outcome, invalid_emails, lambda: text)
        self.record(account, channel, lambda: text, call, result, call.received_at)
        return result

    def record_rejection(self, account: Account, channel: Channel, text: bytes, error: DestinationError) -> None:
        """Report the rejection of a whole request to the observer."""
        self._observer.call_rejected(error, account.id)
        self.record(account, channel, lambda: text, None, error, self._clock())

    def record(
        self,
        account: Account,
        channel: Channel,
        text: Callable[[], bytes],
        call: Call | None,
        result: Result,
        received_at: int,
    ) -> bool:
        """Report an event to the observer: see `to_call_record`.

        Returns False where the observer has no room for it, at nearly no cost. An operator's test call is always
        reported.
        """
        if not (self._observer.should_sample(account.id, outcome_of(result)) or channel is Channel.TEST):
            return False
        body = text()
        rules = call_rules_of(account)
        if rules is not None and rules.drops:
            body = _without_dropped(body, rules)
        self._observer.record_call(to_call_record(account.id, channel, body, call, result, received_at))
        return True

    def left_out(self, account: Account, channel: Channel, text: bytes, result: IngestResult, now: int) -> None:
        """Count and report a call that has no effect."""
        self._observer.call_left_out(result.outcome, account.id)
        self.record(account, channel, lambda: text, None, result, now)

    async def _parse(self, batch: "_Batch", events: Sequence[Event], codec: EventCodec[Event]) -> "_Piece[Event]":
        """Parse the events of a piece."""
        piece = _Piece(events)
        begun = time.monotonic()
        for position, event in enumerate(events):
            if time.monotonic() - begun > PARSE_SECONDS:
                await asyncio.sleep(0)  # lets other requests run during a large batch
                begun = time.monotonic()
            try:
                parsed, size = codec.read(event, batch.now, batch.rules)
            except CallError as error:
                self._observer.call_rejected(error, batch.account.id)
                piece.results[position] = error
                continue
            if isinstance(parsed, IngestResult):
                piece.results[position] = parsed
                self._observer.call_left_out(parsed.outcome, batch.account.id)
            else:
                parsed.at = batch.order.next_time(parsed.at)
                now = max(batch.now, parsed.at)
                piece.calls[position] = to_call(parsed, batch.account, now, size)
                piece.invalid_emails[position] = invalid_emails_of(parsed)
        return piece

    async def _commit(
        self, batch: "_Batch", piece: "_Piece[Event]", codec: EventCodec[Event], *, bulk: bool = False
    ) -> list[Result]:
        """Commit the calls of a piece, and report all of its events to the observer."""
        if piece.calls:
            outcomes = await self._calls.accept(list(piece.calls.values()), bulk=bulk)
            for position, outcome in zip(piece.calls, outcomes, strict=True):
                piece.results[position] = result_of(
                    outcome, piece.invalid_emails[position], partial(codec.text, piece.events[position])
                )
        for position, event in enumerate(piece.events):
            result, text = piece.results[position], partial(codec.text, event)
            if (call_outcome := outcome_of(result)) in batch.full:
                continue
            call = piece.calls.get(position)
            if not self.record(batch.account, batch.channel, text, call, result, batch.now):
                batch.full.add(call_outcome)
        return [piece.results[position] for position in range(len(piece.events))]


@dataclass(slots=True)
class _Batch:
    """State that the events of one request share."""

    account: Account
    channel: Channel
    #: Time of receipt, in microseconds since the epoch.
    now: int
    #: Call rules of the account; None: it has none.
    rules: CallRules | None
    order: _EventOrder = field(default_factory=_EventOrder)
    #: Outcomes for which the observer had no room. It will have none for the rest of the batch.
    full: set[CallOutcome] = field(default_factory=set)


@dataclass(slots=True)
class _Piece(Generic[Event]):
    """Events of a request that are committed together."""

    events: Sequence[Event]
    #: The three mappings are by the events' positions in the piece.
    calls: dict[int, Call] = field(default_factory=dict)
    invalid_emails: dict[int, Mapping[str, str]] = field(default_factory=dict)
    results: dict[int, Result] = field(default_factory=dict)


def _without_dropped(text: bytes, rules: CallRules) -> bytes:
    """Return a call's text without the traits that are never stored; of other texts nothing is kept."""
    try:
        raw = parse_object(text)
    except CallError:
        return b""
    return dump(rules.without_dropped(raw, field_names(raw).unknown)).encode()


def rejected_events(results: Sequence[Result]) -> list[dict[str, JsonValue]]:
    """Return the positions (from 0) and the reasons of the rejected events of a batch."""
    return [
        {"index": position, "message": str(result)}
        for position, result in enumerate(results)
        if isinstance(result, DestinationError)
    ]
