"""Write-behind for the activity feed, recent calls, rollups and reported rate limits."""

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
from prosperstack_destination.store import account_stats, accounts, activity, rollups
from prosperstack_destination.store.account_stats import ReportedLimit
from prosperstack_destination.store.activity import Event, EventKind
from prosperstack_destination.store.database import Database
from prosperstack_destination.store.recent_calls import IncomingCall
from prosperstack_destination.store.rollups import Rollup

log = structlog.get_logger(__name__)

#: Interval of writes, in seconds.
WRITE_SECONDS: Final = 1.0
#: The most events of a kind per write, so that many calls leave room for other kinds. Further events are dropped
#: and counted.
MAX_EVENTS_PER_KIND: Final = 100
#: The most recent calls that wait for a write, which bounds their memory.
MAX_WAITING_CALLS: Final = 400
#: Rollups are stored with every fifth write at most; after a pause, with the next one.
ROLLUP_EVERY: Final = 5

#: Unit of work that stores recent calls.
AppendCalls = Callable[[Connection, Sequence[IncomingCall]], None]


class EventWriter:
    """Writer of events, recent calls, rollups and rate limits, about once a second.

    All methods but `close` return at once. ``on_dropped`` receives the number of dropped events.
    """

    def __init__(
        self, database: Database, on_dropped: Callable[[int], None], clock: Clock, append_calls: AppendCalls
    ) -> None:
        self._database = database
        self._on_dropped = on_dropped
        self._clock = clock
        self._append_calls = append_calls
        self._waiting: list[Event] = []
        self._count_by_kind: Counter[EventKind] = Counter()
        self._calls: list[IncomingCall] = []
        self._limits: dict[str, ReportedLimit] = {}
        self._rollups: dict[str, Rollup] = {}
        self._rollup_turns = EveryNth(ROLLUP_EVERY)
        self._closing = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start the background task."""
        self._task = run_forever(self._write_all, "feed")

    async def close(self) -> None:
        """Write everything that waits, then stop."""
        self._closing.set()
        if self._task is not None:
            await self._task

    def set_rate_limit(self, account_id: str, limit: ReportedLimit) -> None:
        """Keep the last reported rate limit of an account for the next write."""
        self._limits[account_id] = limit

    def rollup(self, account_id: str) -> Rollup:
        """Return the account's rollup for the next write; the caller adds to its counts."""
        rollup = self._rollups.get(account_id)
        if rollup is None:
            rollup = self._rollups[account_id] = Rollup(self._clock())
        return rollup

    def add(self, kind: EventKind, new: int, make: Callable[[int], Event]) -> None:
        """Add at most ``new`` events, as room is left. ``make`` builds an event from its number, from 0."""
        room = min(new, MAX_EVENTS_PER_KIND - self._count_by_kind[kind])
        self._count_by_kind[kind] += room
        self._waiting += map(make, range(room))
        if room < new:
            self._on_dropped(new - room)

    def add_call(self, call: IncomingCall) -> None:
        """Keep a call for the next write, where there is room."""
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
        self._count_by_kind.clear()
        calls, self._calls = self._calls, []
        limits, self._limits = self._limits, {}
        counted = self._take_rollups(last=last)
        if not (new or calls or limits or counted):
            return

        named = {*limits, *counted, *(each.account_id for each in new), *(each.account_id for each in calls)}

        def work(connection: Connection) -> None:
            existing = accounts.existing_ids(connection, named)  # an account may have been removed meanwhile
            if of_events := [each for each in new if each.account_id in existing]:
                activity.append(connection, of_events)
            if of_calls := [each for each in calls if each.account_id in existing]:
                self._append_calls(connection, of_calls)
            account_stats.record_rate_limits(
                connection, {each: limit for each, limit in limits.items() if each in existing}
            )
            existing.add(rollups.NO_ACCOUNT)
            of_accounts = {each: rollup for each, rollup in counted.items() if each in existing}
            rollups.add(connection, of_accounts, self._clock())

        try:
            await self._database.write(work)
        except StoreUnavailable as error:
            for account_id, rollup in counted.items():  # counts are small: they wait for the database
                self._rollups[account_id] = self.rollup(account_id) + rollup
            log.warning(
                "events not written; rollups are kept for the next write",
                reason=str(error),
                events=len(new),
                calls=len(calls),
            )

    def _take_rollups(self, *, last: bool) -> dict[str, Rollup]:
        if not (self._rollup_turns.is_due(something=bool(self._rollups)) or last):
            return {}
        counted, self._rollups = self._rollups, {}
        return counted


class EveryNth:
    """Counter that is due every ``every`` turns at most, and at once after a pause."""

    def __init__(self, every: int) -> None:
        self._every = every
        self._left = 0

    def is_due(self, *, something: bool) -> bool:
        """Count a turn; return whether it is due, where there is ``something`` to do."""
        self._left -= 1
        if self._left > 0 or not something:
            return False
        self._left = self._every
        return True
