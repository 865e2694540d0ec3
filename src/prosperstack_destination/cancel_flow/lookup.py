"""From the token in a URL to the account that it opens, without waiting for a busy database."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

from sqlalchemy import Connection

from prosperstack_destination.account_mapping import AccountMapping, load, mapping_input
from prosperstack_destination.auth.api_keys import MAX_KEY_LENGTH, key_hash
from prosperstack_destination.cancel_flow.cache import RefreshingValue
from prosperstack_destination.clock import SECOND, Clock
from prosperstack_destination.errors import InvalidApiKey
from prosperstack_destination.mapping.coercion import PropertyValue
from prosperstack_destination.store import accounts, cancel_flows, connector_tokens
from prosperstack_destination.store.cancel_flows import PersonRef
from prosperstack_destination.store.database import Database

#: How long the tokens are believed before they are read again: a revoked one is refused this soon. Microseconds.
TOKEN_TTL: Final = 2 * SECOND
#: A token that is not among them may have been issued just now; they are read again this often, in microseconds.
UNKNOWN_TOKEN_TTL: Final = 1 * SECOND


class TokenCache:
    """The tokens that are good, all in memory: there are a handful for each account."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._accounts: RefreshingValue[Mapping[str, str]] = RefreshingValue(
            "connector tokens", lambda: database.read(connector_tokens.active), clock
        )

    async def account_id(self, token: str) -> str:
        """The id of the account that a token opens.

        Raises `InvalidApiKey` for one that is unknown or revoked, `StoreUnavailable` where the tokens were
        never read.
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


#: So long it is believed what traits mean to an account, in microseconds: to read that takes longer than to read a
#: person, and nobody can tell an answer a moment before a mapping was applied from one a moment after.
MAPPING_TTL: Final = 1 * SECOND
#: Accounts of which it is kept; past it all of them are forgotten.
MAX_CACHED_MAPPINGS: Final = 1_000


@dataclass(frozen=True, slots=True)
class DesiredProperties:
    """A person that is no stranger."""

    #: Trimmed and in lower case.
    email: str
    #: By property key: what ProsperStack should have.
    values: dict[str, PropertyValue]


class PropertyLookup:
    """The desired properties of people.

    What traits mean to an account is read again when it is older than `BELIEVED_FOR`; the person is read each time.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        #: By account; None where there is no such account.
        self._meanings: dict[str, RefreshingValue[AccountMapping | None]] = {}

    async def find(self, account_id: str, person: PersonRef) -> DesiredProperties | None:
        """What should be known of a person; None for a stranger. Raises `StoreUnavailable`."""
        meaning = await self._meaning(account_id).get(MAPPING_TTL)
        if meaning is None:
            return None
        found = await self._database.read_inline(cancel_flows.find_person, account_id, person)
        return (
            None
            if found is None
            else DesiredProperties(found.email, meaning.compiled.project(mapping_input(found)).values())
        )

    async def close(self) -> None:
        """Let what is being read be read."""
        for meaning in self._meanings.values():
            await meaning.close()

    def _meaning(self, account_id: str) -> RefreshingValue[AccountMapping | None]:
        meaning = self._meanings.get(account_id)
        if meaning is None:
            if len(self._meanings) >= MAX_CACHED_MAPPINGS:
                self._meanings = {key: each for key, each in self._meanings.items() if each.is_reading}
            meaning = RefreshingValue("what traits mean", partial(self._read, account_id), self._clock)
            self._meanings[account_id] = meaning
        return meaning

    async def _read(self, account_id: str) -> AccountMapping | None:
        return await self._database.read(_meaning, account_id)


def _meaning(connection: Connection, account_id: str) -> AccountMapping | None:
    account = accounts.get(connection, account_id)
    return None if account is None else load(connection, account)
