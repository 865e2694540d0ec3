"""From the token in a URL to the account that it opens, without waiting for a busy database."""

import asyncio
from collections.abc import Mapping
from typing import Final

import structlog

from prosperstack_destination.accounts.keys import MAX_KEY_LENGTH, key_hash
from prosperstack_destination.clock import SECOND, Clock
from prosperstack_destination.errors import KeyRefused, StoreUnavailable
from prosperstack_destination.state import connectors
from prosperstack_destination.state.database import Database

log = structlog.get_logger(__name__)

#: How long the tokens are believed before they are read again: a revoked one is refused this soon. Microseconds.
BELIEVED_FOR: Final = 2 * SECOND
#: A token that is not among them may have been issued just now; they are read again this often, in microseconds.
MISSED_FOR: Final = 1 * SECOND
#: The database has this long before what was read last is believed once more, in seconds.
PATIENCE_SECONDS: Final = 0.05


class Tokens:
    """The tokens that are good, all in memory: there are a handful for each account."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._accounts: Mapping[str, str] | None = None
        self._read_at = 0
        self._reading: asyncio.Task[None] | None = None

    async def account_id(self, token: str) -> str:
        """The id of the account that a token opens.

        Raises `KeyRefused` for one that is unknown or revoked, `StoreUnavailable` where the tokens were never read.
        """
        hashed = key_hash(token[:MAX_KEY_LENGTH])
        age = self._clock() - self._read_at
        known = self._accounts is not None and hashed in self._accounts
        if self._accounts is None or not 0 <= age < (BELIEVED_FOR if known else MISSED_FOR):
            await self._read_again()
        if self._accounts is None:
            raise StoreUnavailable("The database does not answer; call again.", retry_after=1)
        account_id = self._accounts.get(hashed)
        if account_id is None:
            raise KeyRefused("The token in the URL is not known: `connectors issue` prints a new URL.")
        return account_id

    async def close(self) -> None:
        """Let the reading that is under way end."""
        if self._reading is not None:
            await asyncio.wait([self._reading])

    async def _read_again(self) -> None:
        """Read the tokens, once for all who wait; give up waiting where others were read before."""
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read(), name="connector tokens")
        await asyncio.wait([self._reading], timeout=None if self._accounts is None else PATIENCE_SECONDS)

    async def _read(self) -> None:
        now = self._clock()
        try:
            self._accounts = await self._database.read(connectors.active)
        except StoreUnavailable as error:
            log.warning("connector tokens cannot be read", reason=str(error))
        else:
            self._read_at = now
