"""Write-behind queue that prioritizes people who start to cancel, so that the response does not wait."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final

import structlog
from sqlalchemy import Connection

from prosperstack_destination.background import run_forever
from prosperstack_destination.clock import MINUTE, Clock
from prosperstack_destination.errors import StoreUnavailable
from prosperstack_destination.store import cancel_flows, credentials
from prosperstack_destination.store.credentials import CredentialKind
from prosperstack_destination.store.database import Database

log = structlog.get_logger(__name__)

#: People queued at most. Further ones are dropped: they could not be written in time.
MAX_WAITING: Final = 10_000
#: Tokens whose latest use is cached, so that a use is written once a minute.
MAX_TOKENS: Final = 10_000
#: Time to collect one batch, in seconds: a commit per person would slow ingest down.
BATCH_SECONDS: Final = 0.05
#: Delay after the database was unavailable, in seconds.
RETRY_SECONDS: Final = 1.0


class PriorityWriter:
    """Writes priorities in batches, one transaction each, and wakes the reconciler.

    ``wake`` is called with the IDs of the accounts that have due work.
    """

    def __init__(self, database: Database, wake: Callable[[set[str]], None], clock: Clock) -> None:
        self._database = database
        self._wake = wake
        self._clock = clock
        self._people: dict[tuple[str, str], int] = {}
        self._token_uses: dict[str, int] = {}
        self._tokens_to_mark: set[str] = set()
        self._arrived = asyncio.Event()
        self._closing = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start to write in the background."""
        self._task = run_forever(self._run, "cancel flows")

    async def close(self) -> None:
        """Write the queued people once, then stop."""
        self._closing.set()
        self._arrived.set()
        if self._task is not None:
            await self._task

    def prioritize(self, account_id: str, email: str) -> None:
        """Queue the person with a stored profile's email. Returns at once."""
        if len(self._people) < MAX_WAITING:
            self._people[account_id, email] = self._clock()
            self._arrived.set()
        else:
            log.warning("cancel flow queue is full; the person is not prioritized", account_id=account_id)

    def touch_token(self, token_hash: str) -> None:
        """Record the use of a token. Returns at once."""
        now = self._clock()
        last = self._token_uses.get(token_hash)
        if last is not None and 0 <= now - last < MINUTE:
            return
        if len(self._token_uses) >= MAX_TOKENS:
            self._token_uses.clear()
        self._token_uses[token_hash] = now
        self._tokens_to_mark.add(token_hash)
        self._arrived.set()

    async def _run(self) -> None:
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
        """Write the queue; return False if the database is unavailable, and the queue stays."""
        people, tokens, now = dict(self._people), set(self._tokens_to_mark), self._clock()
        if not (people or tokens):
            return True
        try:
            changed = await self._database.write(_write_batch, people, tokens, now)
        except StoreUnavailable as error:
            log.warning(
                "cancel flow priorities could not be written; retrying", reason=str(error), people=len(people)
            )
            self._arrived.set()
            return False
        self._people = {key: at for key, at in self._people.items() if people.get(key) != at}
        self._tokens_to_mark -= tokens
        if changed:
            self._wake(changed)
        return True

    async def _pause(self, seconds: float) -> None:
        """Wait for some seconds, or until the writer closes."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._closing.wait(), seconds)


def _write_batch(
    connection: Connection, people: Mapping[tuple[str, str], int], tokens: set[str], now: int
) -> set[str]:
    if tokens:
        credentials.mark_used(connection, CredentialKind.CONNECTOR, tokens, now)
    return cancel_flows.prioritize(connection, people)
