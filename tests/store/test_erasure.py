"""Transactions of erasures."""

import pytest
from sqlalchemy import Connection, func, select

from prosperstack_destination.clock import SECOND
from prosperstack_destination.store import erasure, identities
from prosperstack_destination.store.database import Database
from prosperstack_destination.store.merge import MAX_IDS
from prosperstack_destination.store.models import CallSource, Delete, IdKind, SourceKind
from prosperstack_destination.store.tables import held
from prosperstack_destination.store.tables import identities as table
from support.accounts import open_account
from support.clocks import NEW_YEAR
from support.intake import ACCOUNT, identify, outcomes, pseudonym, take

pytestmark = pytest.mark.anyio

AUDIENCE = CallSource(SourceKind.AUDIENCE, "power_users")


@pytest.fixture
async def store(database: Database) -> Database:
    await database.write(open_account)
    return database


def ids(connection: Connection) -> set[str]:
    return set(connection.scalars(select(table.c.external_id)))


async def test_all_ids_of_a_person_are_erased(store: Database) -> None:
    """Of a person with more IDs than a profile keeps, no ID and no former email of an ID stays."""
    many = [identify(anonymous_id=f"a{n}", at=NEW_YEAR + n) for n in range(MAX_IDS + 5)]
    moved = [identify("x@y.z", anonymous_id="a0", at=NEW_YEAR + SECOND)]
    await store.write(take, *many, *moved, identify("x@y.z", user_id="stays"))
    assert await store.read(identities.emails_of, ACCOUNT, (IdKind.ANONYMOUS, "a0")) == {"a@b.c", "x@y.z"}

    await store.write(erasure.erase_email, ACCOUNT, "a@b.c", pseudonym, "ann", NEW_YEAR)

    assert await store.read(ids) == {"stays"}


@pytest.mark.parametrize(("at", "outcome", "count"), [(NEW_YEAR, "outdated", 0), (NEW_YEAR + 1, "held", 1)])
async def test_late_engage_call_of_an_erased_browser_is_dropped(
    store: Database, at: int, outcome: str, count: int
) -> None:
    """A call of Engage with an erased person's anonymous ID is held only if it is from after the deletion."""
    deletion = Delete(ACCOUNT, "u1", NEW_YEAR, NEW_YEAR)
    await store.write(take, identify(user_id="u1", anonymous_id="a1"), deletion)

    late = identify(None, anonymous_id="a1", at=at, source=AUDIENCE, power_users=True)
    taken = await store.write(take, late)

    assert outcomes(taken) == [outcome]
    assert await store.read(lambda connection: connection.scalar(select(func.count()).select_from(held))) == count


async def test_shared_browser_keeps_the_other_person(store: Database) -> None:
    """A late call with another email counts, though its anonymous ID was the erased person's too."""
    deletion = Delete(ACCOUNT, "u1", NEW_YEAR, NEW_YEAR)
    await store.write(take, identify(user_id="u1", anonymous_id="a1"), deletion)

    assert outcomes(await store.write(take, identify("x@y.z", anonymous_id="a1"))) == ["accepted"]
