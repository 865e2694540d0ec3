"""What should be known of a person, from the stored profile: read in one glance, mapped here."""

from dataclasses import dataclass
from functools import partial
from typing import Final

from sqlalchemy import Connection

from prosperstack_destination.accounts.meaning import AccountMapping, load, mapping_input
from prosperstack_destination.clock import SECOND, Clock
from prosperstack_destination.connector.believed import RefreshingValue
from prosperstack_destination.mapping.coercion import PropertyValue
from prosperstack_destination.state import accounts, cancel_flows
from prosperstack_destination.state.cancel_flows import PersonRef
from prosperstack_destination.state.database import Database

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
