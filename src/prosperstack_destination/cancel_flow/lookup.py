"""In-memory lookups of the cancel flow endpoints: accounts of tokens, and desired properties of people."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

from sqlalchemy import Connection

from prosperstack_destination.account_mapping import AccountMapping, load, mapping_input
from prosperstack_destination.auth.api_keys import MAX_KEY_LENGTH, key_hash
from prosperstack_destination.caches import RefreshingValue
from prosperstack_destination.clock import SECOND, Clock
from prosperstack_destination.errors import InvalidApiKey
from prosperstack_destination.mapping.coercion import PropertyValue
from prosperstack_destination.store import accounts, cancel_flows, credentials
from prosperstack_destination.store.cancel_flows import PersonRef
from prosperstack_destination.store.credentials import CredentialKind
from prosperstack_destination.store.database import Database

#: Age at which the tokens are read again, in microseconds; a revoked token is refused within this time.
TOKEN_TTL: Final = 2 * SECOND
#: Age at which an unknown token causes another read, in microseconds: it may have just been issued.
UNKNOWN_TOKEN_TTL: Final = 1 * SECOND


class TokenCache:
    """All valid tokens in memory: an account has few."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._accounts: RefreshingValue[Mapping[str, str]] = RefreshingValue(
            "connector tokens", partial(database.read, _accounts_by_token), clock
        )

    async def account_id(self, token: str) -> str:
        """Return the ID of the account that a token opens.

        Raises `InvalidApiKey` if the token is unknown or revoked, and `StoreUnavailable` if the tokens were never
        read.
        """
        hashed = key_hash(token[:MAX_KEY_LENGTH])
        account_id = (await self._accounts.get(TOKEN_TTL)).get(hashed)
        if account_id is None:
            account_id = (await self._accounts.get(UNKNOWN_TOKEN_TTL)).get(hashed)
        if account_id is None:
            raise InvalidApiKey("The token in the URL is not known. Run `connectors issue` to get a new URL.")
        return account_id

    async def close(self) -> None:
        """Wait for the running refresh."""
        await self._accounts.close()


#: Age at which an account's mapping is read again, in microseconds. Reading it takes longer than reading a person,
#: and an answer that is one second older than a mapping change does no harm.
MAPPING_TTL: Final = 1 * SECOND
#: Accounts whose mapping is cached; when it is full, the cache is emptied.
MAX_CACHED_MAPPINGS: Final = 1_000


@dataclass(frozen=True, slots=True)
class DesiredProperties:
    """Desired properties of a known person."""

    #: Normalized: trimmed and in lower case.
    email: str
    #: Desired values by property key.
    values: dict[str, PropertyValue]


class PropertyLookup:
    """Desired properties of people.

    The mapping of an account is read again after `MAPPING_TTL`; the person is read each time.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        #: By account; None if there is no such account.
        self._mappings: dict[str, RefreshingValue[AccountMapping | None]] = {}

    async def find(self, account_id: str, person: PersonRef) -> DesiredProperties | None:
        """Return a person's desired properties; None if unknown. Raises `StoreUnavailable`."""
        mapping = await self._mapping(account_id).get(MAPPING_TTL)
        if mapping is None:
            return None
        found = await self._database.read_inline(cancel_flows.find_person, account_id, person)
        if found is None:
            return None
        projection = mapping.compiled.project(mapping_input(found, self._clock()))
        return DesiredProperties(found.email, projection.values())

    async def close(self) -> None:
        """Wait for the running refreshes."""
        for mapping in self._mappings.values():
            await mapping.close()

    def _mapping(self, account_id: str) -> RefreshingValue[AccountMapping | None]:
        mapping = self._mappings.get(account_id)
        if mapping is None:
            if len(self._mappings) >= MAX_CACHED_MAPPINGS:
                self._mappings = {key: each for key, each in self._mappings.items() if each.is_refreshing}
            mapping = RefreshingValue("account mapping", partial(self._read, account_id), self._clock)
            self._mappings[account_id] = mapping
        return mapping

    async def _read(self, account_id: str) -> AccountMapping | None:
        return await self._database.read(_load_mapping, account_id)


def _load_mapping(connection: Connection, account_id: str) -> AccountMapping | None:
    account = accounts.get(connection, account_id)
    return None if account is None else load(connection, account)


def _accounts_by_token(connection: Connection) -> dict[str, str]:
    """Return the account IDs of all active tokens, by hash."""
    return {each.hash: each.account_id for each in credentials.active(connection, CredentialKind.CONNECTOR)}
