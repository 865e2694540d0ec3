"""What is known of people, and how soon it is heeded that traits mean something else."""

import json

import pytest
from sqlalchemy import Connection

from prosperstack_destination.cancel_flow.lookup import MAPPING_TTL, PropertyLookup
from prosperstack_destination.store import accounts, mappings
from prosperstack_destination.store.cancel_flows import PersonRef
from prosperstack_destination.store.database import Database
from prosperstack_destination.store.mappings import MappingVersion
from prosperstack_destination.store.merge_calls import ingest_calls
from prosperstack_destination.store.models import Identify
from support.accounts import open_account
from support.clocks import NEW_YEAR, SetClock

pytestmark = pytest.mark.anyio

ACCOUNT = "acct_1"
ANN = PersonRef("ann@example.com")
CATALOG = json.dumps([{"key": "plan", "name": "Plan", "type": "text"}])
SHOUTED = json.dumps({"rules": [{"property": "plan", "from": "traits.plan", "upper": True}]})


def identify(connection: Connection, plan: str, at: int) -> None:
    call = Identify(ACCOUNT, "ann@example.com", "ann@example.com", {"plan": plan}, at, at)
    ingest_calls(connection, [call], str)


async def test_person_is_read_each_time_and_mapping_once_a_second(database: Database, clock: SetClock) -> None:
    """An accepted call counts at once, an applied mapping within a second."""
    await database.write(open_account, ACCOUNT)
    await database.write(accounts.set_catalog, ACCOUNT, CATALOG, NEW_YEAR)
    knowledge = PropertyLookup(database, clock)

    async def told() -> object:
        known = await knowledge.find(ACCOUNT, ANN)
        return None if known is None else known.values

    assert await told() is None
    await database.write(identify, "basic", NEW_YEAR)
    assert await told() == {"plan": "basic"}
    await database.write(identify, "premium", NEW_YEAR + 1)
    assert await told() == {"plan": "premium"}
    await database.write(mappings.add, ACCOUNT, MappingVersion(1, SHOUTED, "ann", NEW_YEAR))
    clock.now += MAPPING_TTL - 1
    assert await told() == {"plan": "premium"}
    clock.now += 1
    await told()
    await knowledge.close()  # a busy database may answer later than a call waits
    assert await told() == {"plan": "PREMIUM"}


async def test_unknown_account_has_no_people(database: Database, clock: SetClock) -> None:
    """An unknown account has no people, and accounts are isolated."""
    await database.write(open_account, ACCOUNT)
    await database.write(accounts.set_catalog, ACCOUNT, CATALOG, NEW_YEAR)
    await database.write(identify, "basic", NEW_YEAR)
    knowledge = PropertyLookup(database, clock)

    assert await knowledge.find(ACCOUNT, ANN) is not None
    assert await knowledge.find("acct_2", ANN) is None
