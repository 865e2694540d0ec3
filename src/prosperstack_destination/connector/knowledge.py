"""What should be known of a person, from the stored profile: read in one look, mapped here."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection

from prosperstack_destination.accounts.catalogs import load_catalog
from prosperstack_destination.mapping.catalog import Catalog
from prosperstack_destination.mapping.coercion import PropertyValue
from prosperstack_destination.mapping.projection import project
from prosperstack_destination.mapping.rules import Rules
from prosperstack_destination.state import accounts, cancel_flows
from prosperstack_destination.state.cancel_flows import Edition, Found, Person
from prosperstack_destination.state.database import Database

#: Accounts whose catalog and rules are kept ready; the one that was asked for longest ago goes.
KEPT: Final = 1_000


@dataclass(frozen=True, slots=True)
class _Meaning:
    """What an account's traits mean, as of an edition."""

    edition: Edition
    catalog: Catalog
    rules: Rules


@dataclass(frozen=True, slots=True)
class Known:
    """A person that is no stranger."""

    #: Trimmed and in lower case.
    email: str
    #: By property key: what ProsperStack should have.
    values: dict[str, PropertyValue]


@dataclass(frozen=True, slots=True)
class _Look:
    found: Found | None
    meaning: _Meaning


class Knowledge:
    """The desired properties of people."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._meanings: OrderedDict[str, _Meaning] = OrderedDict()

    async def of(self, account_id: str, person: Person) -> Known | None:
        """What should be known of a person; None for a stranger. Raises `StoreUnavailable`."""
        look = await self._database.read(_look, account_id, person, self._meanings.get(account_id))
        self._meanings[account_id] = look.meaning
        self._meanings.move_to_end(account_id)
        if len(self._meanings) > KEPT:
            self._meanings.popitem(last=False)
        if look.found is None:
            return None
        projection = project(look.found.traits, look.meaning.catalog, look.meaning.rules)
        return Known(look.found.email, projection.values())


def _look(connection: Connection, account_id: str, person: Person, known: _Meaning | None) -> _Look:
    found = cancel_flows.find_person(connection, account_id, person)
    edition = cancel_flows.edition(connection, account_id)
    if known is None or known.edition != edition:
        known = _meaning(connection, account_id, edition)
    return _Look(found, known)


def _meaning(connection: Connection, account_id: str, edition: Edition) -> _Meaning:
    account = accounts.get(connection, account_id)
    mapping = accounts.mapping_in_force(connection, account_id)
    rules = Rules.model_validate_json(mapping.rules)
    return _Meaning(edition, load_catalog(None if account is None else account.catalog), rules)
