"""An API to ask."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from prosperstack_destination.accounts.operators import issue_token
from prosperstack_destination.state.database import Database
from support.clocks import NEW_YEAR
from support.service import Service, running, settings


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    """A running service with a sandbox behind it, and one call about John, which opened the account."""
    async with running(settings(tmp_path)) as service:
        await service.identify("john.doe@example.com", nickname="Jo", number_of_contacts="many", contactCount=5)
        yield service


@pytest.fixture
async def token(tmp_path: Path) -> str:
    """The token of an operator."""
    database = Database(f"sqlite:///{tmp_path / 'data' / 'destination.db'}")
    await database.open()
    try:
        return await database.write(issue_token, "ann", NEW_YEAR)
    finally:
        await database.close()


@pytest.fixture
async def api(service: Service, token: str) -> AsyncIterator[httpx.AsyncClient]:
    """Asks about the only account, with a token."""
    headers = {"Authorization": f"Bearer {token}"}
    [account] = (await service.client.get("/api/accounts", auth=None, headers=headers)).json()
    base_url = f"http://service/api/accounts/{account['id']}/"
    async with httpx.AsyncClient(transport=service.transport, base_url=base_url, headers=headers) as client:
        yield client
