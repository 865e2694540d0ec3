"""An operator, who asks the API."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from prosperstack_destination.auth.credentials import issue_token
from prosperstack_destination.store.database import Database
from support.clocks import NEW_YEAR
from support.service import Service


async def issued(folder: Path, name: str = "ann") -> str:
    """A token for the service whose settings have this folder."""
    database = Database(f"sqlite:///{folder / 'data' / 'destination.db'}")
    await database.open()
    try:
        return (await database.write(issue_token, name, name, NEW_YEAR)).text
    finally:
        await database.close()


@asynccontextmanager
async def operator(service: Service, token: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client with a token, which asks about the only account."""
    headers = {"Authorization": f"Bearer {token}"}
    [account] = (await service.client.get("/api/accounts", auth=None, headers=headers)).json()
    base_url = f"http://service/api/accounts/{account['id']}/"
    async with httpx.AsyncClient(transport=service.transport, base_url=base_url, headers=headers) as client:
        yield client
