"""From the token in a URL to the account that it opens, without waiting for a busy database."""

from collections.abc import Mapping
from typing import Final

from prosperstack_destination.accounts.keys import MAX_KEY_LENGTH, key_hash
from prosperstack_destination.clock import SECOND, Clock
from prosperstack_destination.connector.believed import RefreshingValue
from prosperstack_destination.errors import InvalidApiKey
from prosperstack_destination.state import connectors
from prosperstack_destination.state.database import Database

#: How long the tokens are believed before they are read again: a revoked one is refused this soon. Microseconds.
TOKEN_TTL: Final = 2 * SECOND
#: A token that is not among them may have been issued just now; they are read again this often, in microseconds.
UNKNOWN_TOKEN_TTL: Final = 1 * SECOND


class TokenCache:
    """The tokens that are good, all in memory: there are a handful for each account."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._accounts: RefreshingValue[Mapping[str, str]] = RefreshingValue(
            "connector tokens", lambda: database.read(connectors.active), clock
        )

    async def account_id(self, token: str) -> str:
        """The id of the account that a token opens.

        Raises `KeyRefused` for one that is unknown or revoked, `StoreUnavailable` where the tokens were never read.
        """
        hashed = key_hash(token[:MAX_KEY_LENGTH])
        account_id = (await self._accounts.get(TOKEN_TTL)).get(hashed)
        if account_id is None:
            account_id = (await self._accounts.get(UNKNOWN_TOKEN_TTL)).get(hashed)
        if account_id is None:
            raise InvalidApiKey("The token in the URL is not known: `connectors issue` prints a new URL.")
        return account_id

    async def close(self) -> None:
        """Let the reading that is under way end."""
        await self._accounts.close()
