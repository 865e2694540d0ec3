"""An operator that uses the API."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
from sqlalchemy import Connection

from prosperstack_destination.auth.api_keys import fingerprint, key_hash
from prosperstack_destination.store import credentials
from prosperstack_destination.store.credentials import Credential, CredentialKind
from prosperstack_destination.store.database import Database
from support.clocks import NEW_YEAR
from support.service import Service


def add_token(connection: Connection, name: str = "ann", now: int = NEW_YEAR) -> str:
    """Add an operator token, without an entry in the audit log."""
    token = f"pso_{name}_{'x' * 32}"
    credentials.accept(
        connection, Credential(CredentialKind.TOKEN, fingerprint(token), key_hash(token), "", name, now)
    )
    return token


async def issued(folder: Path, name: str = "ann") -> str:
    """A token for the service whose settings have this folder."""
    database = Database(f"sqlite:///{folder / 'data' / 'destination.db'}")
    await database.open()
    try:
        return await database.write(add_token, name)
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
