"""Prepared statements."""

from typing import Any, Final

import pytest
from sqlalchemy import Connection, Select, Update, bindparam, select, update

from prosperstack_destination.store.database import Database
from prosperstack_destination.store.statements import OneOf, PreparedStatement
from prosperstack_destination.store.tables import profiles
from support.accounts import open_account
from support.intake import ACCOUNT, identify, take

pytestmark = pytest.mark.anyio

ODD: Final = ["a@b.c", "o'neil@b.c", 'a"quote@b.c', "back\\slash@b.c", "ünïcode@b.c", "{brace},@b.c", "null"]


def _build(one_of: OneOf) -> Select[Any]:
    mine = profiles.c.account_id == bindparam("account")
    return select(profiles.c.email).where(mine, one_of(profiles.c.email, "emails")).limit(3)


def _renaming(one_of: OneOf) -> Update:
    mine = profiles.c.account_id == bindparam("account")
    return update(profiles).where(mine, one_of(profiles.c.email, "emails")).values(address=bindparam("new"))


STATEMENT: Final = PreparedStatement(_build)
RENAMING: Final = PreparedStatement(_renaming)


def found(connection: Connection, *emails: str, account: str = ACCOUNT) -> set[str]:
    return {email for (email,) in STATEMENT.rows(connection, {"account": account, "emails": list(emails)})}


async def test_list_of_any_length_is_bound(database: Database) -> None:
    """The same statement takes no text, one, or many, with any content."""
    await database.write(open_account)
    await database.write(take, *[identify(email) for email in ODD])

    for email in ODD:
        assert await database.read(found, email, "nobody@b.c") == {email}
    assert await database.read(found) == set()
    assert await database.read(found, *ODD[:3]) == set(ODD[:3])
    assert await database.read(found, ODD[0], account="acct_2") == set()


async def test_literal_of_a_statement_is_kept(database: Database) -> None:
    """A value that is part of the statement, such as its limit, need not be given."""
    await database.write(open_account)
    await database.write(take, *[identify(email) for email in ODD])

    assert len(await database.read(found, *ODD)) == 3


async def test_changed_rows_are_counted(database: Database) -> None:
    """The number of changed rows is returned, also zero; a failed transaction rolls them back."""
    await database.write(open_account)
    await database.write(take, *[identify(email) for email in ODD])
    new = {"account": ACCOUNT, "new": "new@b.c"}

    def fail(connection: Connection) -> None:
        assert RENAMING.run(connection, {**new, "emails": ODD}) == len(ODD)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await database.write(fail)
    assert await database.write(RENAMING.run, {**new, "emails": [*ODD[:2], "nobody@b.c"]}) == 2
    assert await database.write(RENAMING.run, {**new, "emails": []}) == 0

    addresses = select(profiles.c.address).where(profiles.c.address == "new@b.c")
    assert len(await database.read(lambda connection: connection.scalars(addresses).all())) == 2
