"""Tokens, while the database is quick and while it is not."""

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import Connection

from prosperstack_destination.cancel_flow.lookup import TokenCache
from prosperstack_destination.errors import InvalidApiKey
from prosperstack_destination.store import credentials
from prosperstack_destination.store.credentials import CredentialKind
from prosperstack_destination.store.database import Database
from prosperstack_destination.store.sqlite import READERS
from support.accounts import open_account
from support.clocks import SetClock
from support.connectors import issue_token

pytestmark = pytest.mark.anyio


@pytest.fixture
async def token(database: Database) -> str:
    await database.write(open_account)
    return await database.write(issue_token, "acct_1")


@pytest.fixture
async def tokens(database: Database, clock: SetClock) -> AsyncIterator[TokenCache]:
    tokens = TokenCache(database, clock)
    yield tokens
    await tokens.close()


async def test_new_token_works_within_a_second(
    database: Database, tokens: TokenCache, token: str, clock: SetClock
) -> None:
    """A new token works within a second; unknown tokens cost one read a second."""
    await tokens.account_id(token)
    new = await database.write(issue_token, "acct_1")
    with pytest.raises(InvalidApiKey):
        await tokens.account_id(new)
    clock.advance(1)

    assert await tokens.account_id(new) == "acct_1"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)  # whose readers can be counted
async def test_busy_database_keeps_cached_tokens(
    database: Database, tokens: TokenCache, token: str, clock: SetClock
) -> None:
    """While all readers are busy a cached token works; later it is read again."""

    def revoke(connection: Connection) -> None:
        [one] = credentials.of_kind(connection, CredentialKind.CONNECTOR, "acct_1")
        credentials.revoke(connection, CredentialKind.CONNECTOR, one.id, 1, "acct_1")

    def busy(_: Connection) -> None:
        free.wait(10)

    free = threading.Event()
    await tokens.account_id(token)
    await database.write(revoke)
    clock.advance(60)
    async with asyncio.TaskGroup() as group:
        for _ in range(READERS):
            group.create_task(database.read(busy))
        await asyncio.sleep(0)
        believed = await tokens.account_id(token)
        free.set()

    assert believed == "acct_1"
    await tokens.close()  # the reading that was under way has ended
    with pytest.raises(InvalidApiKey):
        await tokens.account_id(token)
