"""Tests of the removal of an account."""

import pytest
from sqlalchemy import Connection, func, insert, select

from prosperstack_destination.admin.accounts import remove_account
from prosperstack_destination.auth import credentials as issuing
from prosperstack_destination.auth.vault import Vault
from prosperstack_destination.errors import NotFoundError
from prosperstack_destination.store import (
    accounts,
    activity,
    listing_state,
    problems,
    remote_erasures,
    rollups,
    subscribers,
)
from prosperstack_destination.store.activity import Event, EventKind
from prosperstack_destination.store.database import Database
from prosperstack_destination.store.problems import PropertyCreation, RecordedProblem
from prosperstack_destination.store.rollups import Rollup
from prosperstack_destination.store.subscribers import SubscriberSnapshot
from prosperstack_destination.store.tables import leases, metadata
from support.accounts import open_account
from support.clocks import NEW_YEAR
from support.intake import identify, stored, take

pytestmark = pytest.mark.anyio

TABLES = [table for table in metadata.sorted_tables if "account_id" in table.c or table.name == "accounts"]


def fill(connection: Connection, account_id: str) -> None:
    """A unit of work: an account with rows in most tables."""
    account = open_account(connection, account_id)
    vault = Vault("a secret that is long enough")
    issuing.issue_key(connection, account, "k", "ann", NEW_YEAR)
    issuing.issue_secret(connection, account, "s", vault, "ann", NEW_YEAR)
    issuing.issue_connector(connection, account, "c", "ann", NEW_YEAR)
    for number in range(5):
        email = f"p{number}@{account_id}.example"
        take(connection, identify(email, account=account_id, user_id=f"u{number}", plan="x"))
        subscribers.replace_for_email(
            connection, account_id, email, [SubscriberSnapshot(f"subr_{account_id}_{number}", email, {})], NEW_YEAR
        )
        profile = stored(connection, email, account_id)
        found = [RecordedProblem("plan", "plan", "x", "no", NEW_YEAR)]
        problems.replace(connection, account_id, {profile.id: found})
    listing_state.begin(connection, account_id, NEW_YEAR)
    remote_erasures.add(connection, account_id, {"subr": ["plan"]}, delete_subscriber=False, now=NEW_YEAR)
    problems.record_creation(connection, account_id, PropertyCreation("vip", "vip", "boolean", NEW_YEAR, "no"))
    activity.append(connection, [Event(account_id, NEW_YEAR, EventKind.CALL, "accepted", None, {})])
    rollups.add(connection, {account_id: Rollup(accepted=1)}, NEW_YEAR)
    activity.record_action(connection, account_id, NEW_YEAR, actor="ann", action="set", details={})
    connection.execute(insert(leases).values(account_id=account_id, owner="r", fence=3, expires_at=0))


def rows(connection: Connection, account_id: str) -> dict[str, int]:
    """How many rows each table has of an account."""
    found = {}
    for table in TABLES:
        column = table.c.id if table.name == "accounts" else table.c.account_id
        count = connection.execute(select(func.count()).select_from(table).where(column == account_id)).scalar_one()
        if count:
            found[table.name] = count
    return found


async def test_removal_deletes_the_rows_of_one_account(database: Database) -> None:
    """Removing an account deletes its rows in every table, and no row of other accounts."""
    for account_id in ("acct_1", "acct_2"):
        await database.write(fill, account_id)
    account = await database.read(accounts.get, "acct_1")
    assert account is not None
    before = [await database.read(rows, account_id) for account_id in ("acct_1", "acct_2")]

    await remove_account(database, account, "ann", NEW_YEAR, batch=2)

    after = [await database.read(rows, account_id) for account_id in ("acct_1", "acct_2")]
    assert before[0] == before[1]
    assert len(before[0]) >= 15
    assert after == [{}, before[1]]
    with pytest.raises(NotFoundError, match="already removed"):
        await remove_account(database, account, "ann", NEW_YEAR)


async def test_interrupted_removal_leaves_a_closed_account(database: Database) -> None:
    """After an interrupted removal no key opens the account, and a second removal completes it."""
    await database.write(fill, "acct_1")
    await database.write(accounts.close, "acct_1", NEW_YEAR)
    account = await database.read(accounts.get, "acct_1")
    assert account is not None
    left = await database.read(rows, "acct_1")
    await remove_account(database, account, "ann", NEW_YEAR)

    assert account.status in accounts.STOPPED_STATUSES
    assert not {"inbound_keys", "shared_secrets", "connector_tokens"} & left.keys()
    assert await database.read(rows, "acct_1") == {}
