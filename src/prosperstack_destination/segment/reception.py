"""Taking in many events at once: the good ones are kept, the bad ones told by their places."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Generic, TypeVar

from pydantic import JsonValue

from prosperstack_destination.clock import Clock
from prosperstack_destination.errors import CallRefused, DestinationError
from prosperstack_destination.segment.call import Deletion, Understood
from prosperstack_destination.segment.observing import Observer, arrival_of
from prosperstack_destination.segment.results import Answer, Result, fate_of, result_of
from prosperstack_destination.state.accounts import Account
from prosperstack_destination.state.inbox import Inbox
from prosperstack_destination.state.profile import Call, Delete, Identify, Outcome
from prosperstack_destination.state.recent_calls import Fate, Way

#: Events that are read before others get a turn: about a millisecond.
READ_AT_ONCE: Final = 20
#: Events that are committed together at the least, so that those of others come in between.
COMMITTED_TOGETHER: Final = 100

Event = TypeVar("Event")


@dataclass(frozen=True, slots=True)
class Form(Generic[Event]):
    """The form that events come in."""

    #: Understands an event as of a time (microseconds), or says what it comes to without that; and what it takes in
    #: memory, in bytes. Raises `CallRefused`.
    read: Callable[[Event, int], tuple[Understood | Deletion | Answer, int]]
    #: The event's own text.
    text: Callable[[Event], bytes]


def no_emails_of(understood: Understood | Deletion) -> Mapping[str, str]:
    """The values of a call that stand in place of an email, with what is wrong with them, by their places."""
    return understood.no_emails if isinstance(understood, Understood) else {}


def to_call(understood: Understood | Deletion, account: Account, now: int, size: int) -> Call:
    """The call to be taken in for an account."""
    if isinstance(understood, Deletion):
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


class Reception:
    """Takes in events of accounts, and has an observer look at each."""

    def __init__(self, inbox: Inbox, clock: Clock, observer: Observer) -> None:
        self._inbox = inbox
        self._clock = clock
        self._observer = observer

    async def take(self, account: Account, way: Way, events: Sequence[Event], form: Form[Event]) -> list[Result]:
        """What each event comes to, in their order; whatever is accepted is on disk.

        Raises `TryLater`'s kinds where the database takes no more: to send all of them again is safe.
        """
        results: dict[int, Result] = {}
        calls: dict[int, Call] = {}
        no_emails: dict[int, Mapping[str, str]] = {}
        now = self._clock()
        order = _Order()
        for place, event in enumerate(events):
            if place % READ_AT_ONCE == READ_AT_ONCE - 1:
                await asyncio.sleep(0)  # a large batch must not hold up the others
            try:
                understood, size = form.read(event, now)
            except CallRefused as error:
                self._observer.refused(error, account.id)
                results[place] = error
                continue
            if isinstance(understood, Answer):
                results[place] = understood
            else:
                understood.at = order.place(understood.at)
                calls[place] = to_call(understood, account, max(now, understood.at), size)
                no_emails[place] = no_emails_of(understood)
        for place, outcome in zip(calls, await self._accept(list(calls.values())), strict=True):
            results[place] = result_of(outcome, no_emails[place])
        full: set[Fate] = set()  # a batch comes in a moment: what there was no room for, there will be none for
        for place, event in enumerate(events):
            result = results[place]
            if (fate := fate_of(result)) in full:
                continue
            if not self.tell(account, way, partial(form.text, event), calls.get(place), result, now):
                full.add(fate)
        return [results[place] for place in range(len(events))]

    async def take_one(
        self, account: Account, way: Way, text: bytes, call: Call, no_emails: Mapping[str, str]
    ) -> Result:
        """What a call comes to; if it is accepted, it is on disk. Raises `TryLater`'s kinds.

        ``no_emails`` are of what was understood: see `result_of`.
        """
        [outcome] = await self._inbox.accept([call])
        result = result_of(outcome, no_emails)
        self.tell(account, way, lambda: text, call, result, call.received_at)
        return result

    def refuse(self, account: Account, way: Way, text: bytes, error: DestinationError) -> None:
        """Tell that a whole request was refused."""
        self._observer.refused(error, account.id)
        self.tell(account, way, lambda: text, None, error, self._clock())

    def tell(
        self,
        account: Account,
        way: Way,
        text: Callable[[], bytes],
        call: Call | None,
        result: Result,
        received_at: int,
    ) -> bool:
        """Tell the observer of an event: see `arrival_of`. False: it has no room, which costs next to nothing."""
        if not (self._observer.wants(account.id, fate_of(result)) or way is Way.TEST):  # whoever tries it, looks
            return False
        self._observer.came(arrival_of(account.id, way, text(), call, result, received_at))
        return True

    async def _accept(self, calls: Sequence[Call]) -> list[Outcome]:
        """Commit calls in pieces, so that those of others come in between."""
        starts = range(0, len(calls), COMMITTED_TOGETHER)
        pieces = [calls[start : start + COMMITTED_TOGETHER] for start in starts]
        outcomes = await asyncio.gather(*(self._inbox.accept(piece) for piece in pieces))
        return [outcome for piece in outcomes for outcome in piece]


def told(results: Sequence[Result]) -> list[dict[str, JsonValue]]:
    """The refused events of a batch, by their places, with the reasons."""
    return [
        {"index": place, "message": str(result)}
        for place, result in enumerate(results)
        if isinstance(result, DestinationError)
    ]
