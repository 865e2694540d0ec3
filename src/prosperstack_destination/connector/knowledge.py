"""What should be known of a person, from the stored profile: read in one look, mapped here."""

from dataclasses import dataclass

from sqlalchemy import Connection

from prosperstack_destination.accounts.meaning import Meaning, of_account, person_of
from prosperstack_destination.mapping.coercion import PropertyValue
from prosperstack_destination.state import accounts, cancel_flows
from prosperstack_destination.state.cancel_flows import Person
from prosperstack_destination.state.database import Database
from prosperstack_destination.state.profile import Profile


@dataclass(frozen=True, slots=True)
class Known:
    """A person that is no stranger."""

    #: Trimmed and in lower case.
    email: str
    #: By property key: what ProsperStack should have.
    values: dict[str, PropertyValue]


class Knowledge:
    """The desired properties of people."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of(self, account_id: str, person: Person) -> Known | None:
        """What should be known of a person; None for a stranger. Raises `StoreUnavailable`."""
        found = await self._database.read(_look, account_id, person)
        if found is None:
            return None
        profile, meaning = found
        return Known(profile.email, meaning.plan.project(person_of(profile)).values())


def _look(connection: Connection, account_id: str, person: Person) -> tuple[Profile, Meaning] | None:
    account = accounts.get(connection, account_id)
    profile = cancel_flows.find_person(connection, account_id, person)
    if account is None or profile is None:
        return None
    return profile, of_account(connection, account)
