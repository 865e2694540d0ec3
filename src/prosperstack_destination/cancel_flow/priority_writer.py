"""Who began to cancel moves to the front: noted beside the answer, which waits for nobody."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final

import structlog
from sqlalchemy import Connection

from prosperstack_destination.background import run_forever
from prosperstack_destination.clock import MINUTE, Clock
from prosperstack_destination.errors import StoreUnavailable
from prosperstack_destination.store import cancel_flows, connector_tokens
from prosperstack_destination.store.database import Database

log = structlog.get_logger(__name__)

#: People who may wait to be noted. Past it nobody is added: there is no time to put so many first anyway.
MAX_WAITING: Final = 10_000
#: Tokens whose use is remembered, so that it is noted once a minute.
MAX_TOKENS: Final = 10_000
#: So long people are gathered for one transaction, in seconds: a commit for each would slow the receiving down.
BATCH_SECONDS: Final = 0.05
#: After a database that was away, in seconds.
RETRY_SECONDS: Final = 1.0


class PriorityWriter:
    """Notes who began to cancel, many in one transaction, and wakes the reconciler for them.

    ``wake`` is called with the accounts that have something to do for them.
    """

    def __init__(self, database: Database, wake: Callable[[set[str]], None], clock: Clock) -> None:
        self._database = database
        self._wake = wake
        self._clock = clock
        self._people: dict[tuple[str, str], int] = {}
        self._used: dict[str, int] = {}
        self._to_mark: set[str] = set()
        self._arrived = asyncio.Event()
        self._closing = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to write what is noted."""
        self._task = run_forever(self._write_all, "cancel flows")

    async def close(self) -> None:
        """Write what waits, once, then stop."""
        self._closing.set()
        self._arrived.set()
        if self._task is not None:
            await self._task

    def prioritize(self, account_id: str, email: str) -> None:
        """Somebody (by the email of a stored profile) begins to cancel. Returns at once."""
        if len(self._people) < MAX_WAITING:
            self._people[account_id, email] = self._clock()
            self._arrived.set()
        else:
            log.warning("too many begin to cancel at once: they are not put first", account_id=account_id)

    def touch_token(self, token_hash: str) -> None:
        """A token was shown. Returns at once."""
        now = self._clock()
        last = self._used.get(token_hash)
        if last is not None and 0 <= now - last < MINUTE:
            return
        if len(self._used) >= MAX_TOKENS:
            self._used.clear()
        self._used[token_hash] = now
        self._to_mark.add(token_hash)
        self._arrived.set()

    async def _write_all(self) -> None:
        while True:
            await self._arrived.wait()
            await self._pause(BATCH_SECONDS)
            self._arrived.clear()
            written = await self._write()
            if self._closing.is_set():
                return
            if not written:
                await self._pause(RETRY_SECONDS)

    async def _write(self) -> bool:
        """Write what waits; False: the database took nothing, and it waits on."""
        people, tokens, now = dict(self._people), set(self._to_mark), self._clock()
        if not (people or tokens):
            return True
        try:
            changed = await self._database.write(_write_batch, people, tokens, now)
        except StoreUnavailable as error:
            log.warning("cancel flows cannot be noted", reason=str(error), people=len(people))
            self._arrived.set()
            return False
        self._people = {key: at for key, at in self._people.items() if people.get(key) != at}
        self._to_mark -= tokens
        if changed:
            self._wake(changed)
        return True

    async def _pause(self, seconds: float) -> None:
        """Wait so long, or until it closes."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._closing.wait(), seconds)


def _write_batch(
    connection: Connection, people: Mapping[tuple[str, str], int], tokens: set[str], now: int
) -> set[str]:
    if tokens:
        connector_tokens.mark_used(connection, tokens, now)
    return cancel_flows.prioritize(connection, people)
