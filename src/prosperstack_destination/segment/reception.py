"""Taking in many events at once: the good ones are kept, the bad ones told by their places."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from pydantic import JsonValue

from prosperstack_destination.clock import Clock
from prosperstack_destination.errors import CallRefused, DestinationError, MissingEmail
from prosperstack_destination.segment.call import Deletion, Understood
from prosperstack_destination.state.accounts import Account
from prosperstack_destination.state.inbox import Inbox
from prosperstack_destination.state.profile import Call, Delete, Identify, Outcome

#: Events that are read, or committed, before others get a turn.
PIECE: Final = 100

Event = TypeVar("Event")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a sender is told of one event that was no fault of theirs."""

    status: int
    message: str


SKIPPED: Final = Answer(200, "Skipped: the call's integrations switch ProsperStack off.")
_ANSWERS: Final[Mapping[Outcome, Answer]] = {
    Outcome.ACCEPTED: Answer(202, "Accepted."),
    Outcome.HELD: Answer(202, "Accepted, and held until an Identify call names an email for this id."),
    Outcome.OUTDATED: Answer(200, "Ignored: the person was deleted after this event."),
    Outcome.ERASED: Answer(202, "Accepted: the person is forgotten."),
}

#: What one event comes to: an answer, or the error that it is refused with.
Result = Answer | DestinationError
#: Understands an event as of a time (microseconds), with what it holds in memory, in bytes.
Read = Callable[[Event, int], tuple[Understood | Deletion | None, int]]
#: Told of each refusal.
OnRefusal = Callable[[DestinationError], None]


def ignore_refusal(_: DestinationError) -> None:
    """Tell nobody."""


def result_of(outcome: Outcome) -> Result:
    """What there is to say of what became of a call; an error where its sender has to do something."""
    return MissingEmail(has_ids=True) if outcome is Outcome.UNKNOWN else _ANSWERS[outcome]


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


class Reception:
    """Takes in events of a batch for an account."""

    def __init__(self, inbox: Inbox, clock: Clock, on_refusal: OnRefusal = ignore_refusal) -> None:
        self._inbox = inbox
        self._clock = clock
        self._on_refusal = on_refusal

    async def take(self, account: Account, events: Sequence[Event], read: Read[Event]) -> list[Result]:
        """What each event comes to, in their order; whatever is accepted is on disk.

        Raises `TryLater`'s kinds where the database takes no more: to send all of them again is safe.
        """
        results: list[Result] = []
        calls: dict[int, Call] = {}
        now = self._clock()
        for place, event in enumerate(events):
            if place % PIECE == PIECE - 1:
                await asyncio.sleep(0)  # a large batch must not hold up the others
            try:
                understood, size = read(event, now)
            except CallRefused as error:
                self._on_refusal(error)
                results.append(error)
                continue
            results.append(SKIPPED)
            if understood is not None:
                calls[place] = to_call(understood, account, now, size)
        for place, outcome in zip(calls, await self._accept(list(calls.values())), strict=True):
            results[place] = result_of(outcome)
        return results

    async def _accept(self, calls: Sequence[Call]) -> list[Outcome]:
        """Commit calls in pieces, so that those of others come in between."""
        pieces = [calls[start : start + PIECE] for start in range(0, len(calls), PIECE)]
        outcomes = await asyncio.gather(*(self._inbox.accept(piece) for piece in pieces))
        return [outcome for piece in outcomes for outcome in piece]


def told(results: Sequence[Result]) -> list[dict[str, JsonValue]]:
    """The refused events of a batch, by their places, with the reasons."""
    return [
        {"index": place, "message": str(result)}
        for place, result in enumerate(results)
        if isinstance(result, DestinationError)
    ]
