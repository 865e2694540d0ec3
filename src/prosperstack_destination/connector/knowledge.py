"""What should be known of a person, from the stored profile: read in one look, mapped here."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection

from prosperstack_destination.accounts.meaning import Meaning, of_account, person_of
from prosperstack_destination.clock import SECOND, Clock
from prosperstack_destination.mapping.coercion import PropertyValue
from prosperstack_destination.state import accounts, cancel_flows
from prosperstack_destination.state.cancel_flows import Person
from prosperstack_destination.state.database import Database
from prosperstack_destination.state.profile import Profile

#: So long it is believed what traits mean to an account, in microseconds: to read that takes longer than to read a
#: person, and nobody can tell an answer a moment before a mapping was applied from one a moment after.
BELIEVED_FOR: Final = 1 * SECOND
#: Accounts of which it is kept; past it all of them are read anew.
MOST_MEANINGS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Known:
    """A person that is no stranger."""

    #: Trimmed and in lower case.
    email: str
    #: By property key: what ProsperStack should have.
    values: dict[str, PropertyValue]


class Knowledge:
    """The desired properties of people.

    What traits mean to an account is read again when it is older than `BELIEVED_FOR`; the person is read each time.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        #: By account: as of when, and what.
        self._meanings: dict[str, tuple[int, Meaning]] = {}

    async def of(self, account_id: str, person: Person) -> Known | None:
        """What should be known of a person; None for a stranger. Raises `StoreUnavailable`."""
        meaning = self._believed(account_id)
        if meaning is None:
            now = self._clock()
            found, meaning = await self._database.read(_look, account_id, person)
            if meaning is None:
                return None
            if len(self._meanings) >= MOST_MEANINGS:
                self._meanings.clear()
            self._meanings[account_id] = now, meaning
        else:
            found = await self._database.glance(cancel_flows.find_person, account_id, person)
        return None if found is None else Known(found.email, meaning.plan.project(person_of(found)).values())

    def _believed(self, account_id: str) -> Meaning | None:
        as_of, meaning = self._meanings.get(account_id, (0, None))
        return meaning if 0 <= self._clock() - as_of < BELIEVED_FOR else None


def _look(connection: Connection, account_id: str, person: Person) -> tuple[Profile | None, Meaning | None]:
    account = accounts.get(connection, account_id)
    if account is None:
        return None, None
    return cancel_flows.find_person(connection, account_id, person), of_account(connection, account)
