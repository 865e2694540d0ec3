"""Taking in many events at once: the good ones are kept, the bad ones told by their places."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Generic, TypeVar

from pydantic import JsonValue

from prosperstack_destination.clock import Clock
from prosperstack_destination.errors import CallError, DestinationError
from prosperstack_destination.ingest.fair_share import FairTurns
from prosperstack_destination.ingest.observer import IngestObserver, to_call_record
from prosperstack_destination.ingest.parser import ParsedDelete, ParsedIdentify
from prosperstack_destination.ingest.responses import IngestResult, Result, outcome_of, result_of
from prosperstack_destination.store.accounts import Account
from prosperstack_destination.store.group_commit import CallSink
from prosperstack_destination.store.models import Call, Delete, Identify
from prosperstack_destination.store.recent_calls import CallOutcome, Channel

#: Events that are read before others get a turn: about a millisecond.
EVENTS_PER_READ: Final = 20
#: Events that are read in one turn, and committed together, so that those of others come in between.
EVENTS_PER_COMMIT: Final = 50

Event = TypeVar("Event")


@dataclass(frozen=True, slots=True)
class EventCodec(Generic[Event]):
    """The form that events come in."""

    #: Understands an event as of a time (microseconds), or says what it comes to without that; and what it takes in
    #: memory, in bytes. Raises `CallError`.
    read: Callable[[Event, int], tuple[ParsedIdentify | ParsedDelete | IngestResult, int]]
    #: The event's own text.
    text: Callable[[Event], bytes]


def invalid_emails_of(understood: ParsedIdentify | ParsedDelete) -> Mapping[str, str]:
    """The values of a call that stand in place of an email, with what is wrong with them, by their places."""
    return understood.invalid_emails if isinstance(understood, ParsedIdentify) else {}


def to_call(understood: ParsedIdentify | ParsedDelete, account: Account, now: int, size: int) -> Call:
    """The call to be taken in for an account."""
    if isinstance(understood, ParsedDelete):
        return Delete(account.id, understood.user_id, understood.at, now, size)
    return Identify(
        account_id=account.id,
        email=understood.email,
        address=understood.address,
        traits=understood.traits,
        at=understood.at,
        received_at=now,
        user_id=understood.user_id,
        anonymous_id=understood.anonymous_id,
        source=understood.source,
        size=size,
    )


class _Order:
    """Event times that keep the order of one request's calls.

    Calls without a time of their own share that of their request. Each gets a microsecond of its own, so that what
    comes later in the request wins, also over a deletion between the two. The same request gives the same times.
    """

    def __init__(self) -> None:
        self._taken: dict[int, int] = {}

    def place(self, at: int) -> int:
        """The event time (microseconds) of the next call."""
        before = self._taken.get(at, 0)
        self._taken[at] = before + 1
        return at + before


class IngestService:
    """Takes in events of accounts, and has an observer look at each."""

    def __init__(self, inbox: CallSink, clock: Clock, observer: IngestObserver) -> None:
        self._inbox = inbox
        self._clock = clock
        self._observer = observer
        #: What large requests wait for, so that they hold up nobody else's.
        self.turns = FairTurns()

    async def ingest_many(
        self, account: Account, channel: Channel, events: Sequence[Event], codec: EventCodec[Event]
    ) -> list[Result]:
        """What each event comes to, in their order; whatever is accepted is on disk.

        Events are read and committed by pieces, each in its account's turn and in the order of the events: one
        request holds no more than a few pieces of calls in memory. Raises `TemporaryError`'s kinds where the
        database
        takes no more: to send all of them again is safe.
        """
        batch = _Batch(account, channel, self._clock())
        if len(events) <= EVENTS_PER_READ:  # as much as a single call: it waits for nobody's turn
            return await self._keep(batch, await self._read(batch, events, codec), codec)
        pieces: list[asyncio.Task[list[Result]]] = []
        try:
            for start in range(0, len(events), EVENTS_PER_COMMIT):
                await self.turns.acquire(account.id)
                try:
                    read = await self._read(batch, events[start : start + EVENTS_PER_COMMIT], codec)
                except BaseException:
                    self.turns.release()
                    raise
                piece = asyncio.create_task(self._keep(batch, read, codec))
                piece.add_done_callback(lambda _: self.turns.release())
                pieces.append(piece)
                await asyncio.sleep(0)  # so that its calls are handed in before those of the next one
                if any(each.done() and each.exception() for each in pieces):
                    break
        finally:
            settled = await asyncio.gather(*pieces, return_exceptions=True)
        results: list[Result] = []
        for each in settled:
            if isinstance(each, BaseException):
                raise each
            results.extend(each)
        return results

    async def ingest_one(
        self, account: Account, channel: Channel, text: bytes, call: Call, invalid_emails: Mapping[str, str]
    ) -> Result:
        """What a call comes to; if it is accepted, it is on disk. Raises `TemporaryError`'s kinds.

        ``no_emails`` are of what was understood: see `result_of`.
        """
        [outcome] = await self._inbox.accept([call])
        result = result_of(outcome, invalid_emails)
        self.record(account, channel, lambda: text, call, result, call.received_at)
        return result

    def record_rejection(self, account: Account, channel: Channel, text: bytes, error: DestinationError) -> None:
        """Tell that a whole request was refused."""
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
        """Tell the observer of an event: see `arrival_of`. False: it has no room, which costs next to nothing."""
        if not (
            self._observer.should_sample(account.id, outcome_of(result)) or channel is Channel.TEST
        ):  # whoever tries it, looks
            return False
        self._observer.record_call(to_call_record(account.id, channel, text(), call, result, received_at))
        return True

    async def _read(self, batch: "_Batch", events: Sequence[Event], form: EventCodec[Event]) -> "_Piece[Event]":
        """Understand the events of a piece."""
        piece = _Piece(events)
        for place, event in enumerate(events):
            if place % EVENTS_PER_READ == EVENTS_PER_READ - 1:
                await asyncio.sleep(0)  # a large batch must not hold up the others
            try:
                understood, size = form.read(event, batch.now)
            except CallError as error:
                self._observer.call_rejected(error, batch.account.id)
                piece.results[place] = error
                continue
            if isinstance(understood, IngestResult):
                piece.results[place] = understood
            else:
                understood.at = batch.order.place(understood.at)
                now = max(batch.now, understood.at)
                piece.calls[place] = to_call(understood, batch.account, now, size)
                piece.no_emails[place] = invalid_emails_of(understood)
        return piece

    async def _keep(self, batch: "_Batch", piece: "_Piece[Event]", form: EventCodec[Event]) -> list[Result]:
        """Commit the calls of a piece, and tell the observer of all its events."""
        if piece.calls:
            outcomes = await self._inbox.accept(list(piece.calls.values()))
            for place, outcome in zip(piece.calls, outcomes, strict=True):
                piece.results[place] = result_of(outcome, piece.no_emails[place])
        for place, event in enumerate(piece.events):
            result, text = piece.results[place], partial(form.text, event)
            if (fate := outcome_of(result)) in batch.full:
                continue
            if not self.record(batch.account, batch.way, text, piece.calls.get(place), result, batch.now):
                batch.full.add(fate)
        return [piece.results[place] for place in range(len(piece.events))]


@dataclass(slots=True)
class _Batch:
    """What the events of one request share."""

    account: Account
    way: Channel
    #: When it came, in microseconds since the epoch.
    now: int
    order: _Order = field(default_factory=_Order)
    #: A batch comes in a moment: what the observer had no room for, it will have none for.
    full: set[CallOutcome] = field(default_factory=set)


@dataclass(slots=True)
class _Piece(Generic[Event]):
    """Some events of a request, which are committed together."""

    events: Sequence[Event]
    #: By the events' places in the piece.
    calls: dict[int, Call] = field(default_factory=dict)
    no_emails: dict[int, Mapping[str, str]] = field(default_factory=dict)
    results: dict[int, Result] = field(default_factory=dict)


def rejected_events(results: Sequence[Result]) -> list[dict[str, JsonValue]]:
    """The refused events of a batch, by their places, with the reasons."""
    return [
        {"index": place, "message": str(result)}
        for place, result in enumerate(results)
        if isinstance(result, DestinationError)
    ]
