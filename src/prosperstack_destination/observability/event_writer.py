"""What people look at to see that it works: events, recent calls, and tallies. It never slows the work down."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

import structlog
from sqlalchemy import Connection

from prosperstack_destination.background import run_forever
from prosperstack_destination.clock import Clock
from prosperstack_destination.errors import StoreUnavailable
from prosperstack_destination.store import accounts, events, rate_limits, rollups
from prosperstack_destination.store.database import Database
from prosperstack_destination.store.events import Event, EventKind
from prosperstack_destination.store.rate_limits import ReportedLimit
from prosperstack_destination.store.recent_calls import IncomingCall
from prosperstack_destination.store.rollups import Rollup

log = structlog.get_logger(__name__)

#: How often events are written, in seconds, and how many of a kind, so that a flood of calls leaves room for what
#: came of them; what comes between is counted and left out.
WRITE_SECONDS: Final = 1.0
MAX_EVENTS_PER_KIND: Final = 100
#: Recent calls that may wait to be written: what bounds their memory.
MAX_WAITING_CALLS: Final = 400
#: Tallies are added to what is stored with every so many writes; after a rest, with the next one.
ROLLUP_EVERY: Final = 5


#: Writes calls, in a transaction.
KeepCalls = Callable[[Connection, Sequence[IncomingCall]], None]


class EventWriter:
    """Writes events and calls, a few a second at most. ``left_out`` is told how many events had no room."""

    def __init__(
        self, database: Database, left_out: Callable[[int], None], clock: Clock, keep_calls: KeepCalls
    ) -> None:
        self._database = database
        self._left_out = left_out
        self._clock = clock
        self._keep_calls = keep_calls
        self._waiting: list[Event] = []
        self._of_kind: Counter[EventKind] = Counter()
        self._calls: list[IncomingCall] = []
        self._limits: dict[str, ReportedLimit] = {}
        self._tallies: dict[str, Rollup] = {}
        self._turns = EveryNth(ROLLUP_EVERY)
        self._closing = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to write."""
        self._task = run_forever(self._write_all, "feed")

    async def close(self) -> None:
        """Write what waits, once, then stop."""
        self._closing.set()
        if self._task is not None:
            await self._task

    def set_rate_limit(self, account_id: str, limit: ReportedLimit) -> None:
        """Keep what was told of an account's rate limit last. Returns at once."""
        self._limits[account_id] = limit

    def rollup(self, account_id: str) -> Rollup:
        """What is to be added to an account's tally: count there what happens. Returns at once."""
        tally = self._tallies.get(account_id)
        if tally is None:
            tally = self._tallies[account_id] = Rollup(self._clock())
        return tally

    def add(self, kind: EventKind, new: int, make: Callable[[int], Event]) -> None:
        """Add so many new events, as far as there is room: only those are made, by number. Returns at once."""
        room = min(new, MAX_EVENTS_PER_KIND - self._of_kind[kind])
        self._of_kind[kind] += room
        self._waiting += map(make, range(room))
        if room < new:
            self._left_out(new - room)

    def add_call(self, call: IncomingCall) -> None:
        """Keep a call, where there is room for it. Returns at once."""
        if len(self._calls) < MAX_WAITING_CALLS:
            self._calls.append(call)

    async def _write_all(self) -> None:
        while not self._closing.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), WRITE_SECONDS)
            await self._write()
        await self._write(last=True)

    async def _write(self, *, last: bool = False) -> None:
        new, self._waiting = self._waiting, []
        self._of_kind.clear()
        calls, self._calls = self._calls, []
        limits, self._limits = self._limits, {}
        counted = self._take_tallies(last=last)
        if not (new or calls or limits or counted):
            return

        named = {*limits, *counted, *(each.account_id for each in new), *(each.account_id for each in calls)}

        def work(connection: Connection) -> None:
            there = accounts.existing(connection, named)  # one may have been removed meanwhile
            if of_events := [each for each in new if each.account_id in there]:
                events.append(connection, of_events)
            if of_calls := [each for each in calls if each.account_id in there]:
                self._keep_calls(connection, of_calls)
            rate_limits.note(connection, {each: limit for each, limit in limits.items() if each in there})
            there.add(rollups.NO_ACCOUNT)
            of_accounts = {each: tally for each, tally in counted.items() if each in there}
            rollups.add(connection, of_accounts, self._clock())

        try:
            await self._database.write(work)
        except StoreUnavailable as error:
            for account_id, tally in counted.items():  # a figure is small: it waits for the database
                self._tallies[account_id] = self.rollup(account_id) + tally
            log.warning("events could not be written", reason=str(error), events=len(new), calls=len(calls))

    def _take_tallies(self, *, last: bool) -> dict[str, Rollup]:
        if not (self._turns.is_due(something=bool(self._tallies)) or last):
            return {}
        counted, self._tallies = self._tallies, {}
        return counted


class EveryNth:
    """Says when something is to be done that is done every so many turns at most: the first is not waited for."""

    def __init__(self, every: int) -> None:
        self._every = every
        self._left = 0

    def is_due(self, *, something: bool) -> bool:
        """Whether it is to be done in this turn, if there is something to do."""
        self._left -= 1
        if self._left > 0 or not something:
            return False
        self._left = self._every
        return True
