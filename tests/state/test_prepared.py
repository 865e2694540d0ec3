"""Statements that are made once."""

from typing import Any, Final

import pytest
from sqlalchemy import Connection, Select, bindparam, select

from prosperstack_destination.state.database import Database
from prosperstack_destination.state.prepared import OneOf, Prepared
from prosperstack_destination.state.tables import profiles
from support.accounts import open_account
from support.intake import ACCOUNT, identify, take

pytestmark = pytest.mark.anyio

ODD: Final = ["a@b.c", "o'neil@b.c", 'a"quote@b.c', "back\\slash@b.c", "ünïcode@b.c", "{brace},@b.c", "null"]


def _build(one_of: OneOf) -> Select[Any]:
    mine = profiles.c.account_id == bindparam("account")
    return select(profiles.c.email).where(mine, one_of(profiles.c.email, "emails")).limit(3)


STATEMENT: Final = Prepared(_build)


def found(connection: Connection, *emails: str, account: str = ACCOUNT) -> set[str]:
    return set(STATEMENT.execute(connection, {"account": account, "emails": list(emails)}).scalars())


async def test_a_list_of_any_length(database: Database) -> None:
    """The same statement takes no text, one, and many, whatever is in them."""
    await database.write(open_account)
    await database.write(take, *[identify(email) for email in ODD])

    for email in ODD:
        assert await database.read(found, email, "nobody@b.c") == {email}
    assert await database.read(found) == set()
    assert await database.read(found, *ODD[:3]) == set(ODD[:3])
    assert await database.read(found, ODD[0], account="acct_2") == set()


async def test_what_the_statement_says_itself(database: Database) -> None:
    """A value that is written into the statement, as its limit is, need not be given."""
    await database.write(open_account)
    await database.write(take, *[identify(email) for email in ODD])

    assert len(await database.read(found, *ODD)) == 3
