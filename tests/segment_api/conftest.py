"""A workspace of Segment's, and who connects its sources."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
import pytest
from sqlalchemy import Connection

from prosperstack_destination.auth import credentials as issuing
from prosperstack_destination.auth.vault import Vault
from prosperstack_destination.segment_api.client import WorkspaceCredentials
from prosperstack_destination.segment_api.connections import WorkspaceService
from prosperstack_destination.store.accounts import Account
from prosperstack_destination.store.database import Database
from support.clocks import NEW_YEAR, SetClock
from support.segment_public_api import TOKEN, SegmentWorkspace, segment_public_api

VAULT = Vault("a secret that is long enough")
ACCESS = WorkspaceCredentials(TOKEN)


def register(connection: Connection, key: str = "key_test_mine") -> Account:
    """A unit of work: open an account."""
    return issuing.open_account(connection, key, VAULT, "me", NEW_YEAR)


@pytest.fixture
def segment() -> SegmentWorkspace:
    """The workspace, to be looked into and changed."""
    return SegmentWorkspace()


@pytest.fixture
async def http(segment: SegmentWorkspace) -> AsyncIterator[httpx.AsyncClient]:
    """Carries requests to it, wherever they are meant for."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(segment_public_api(segment))) as client:
        yield client


@dataclass(frozen=True)
class World:
    """An account, whose operator connects sources."""

    workspaces: WorkspaceService
    segment: SegmentWorkspace
    database: Database
    account: Account


@pytest.fixture
async def world(segment: SegmentWorkspace, http: httpx.AsyncClient, database: Database, clock: SetClock) -> World:
    account = await database.write(register)
    return World(WorkspaceService(database, VAULT, http, clock, lambda: None), segment, database, account)
