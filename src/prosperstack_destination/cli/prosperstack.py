"""Requests of commands to ProsperStack: check a key, refresh the catalog of an account."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from prosperstack_destination.account_mapping import refresh_catalog
from prosperstack_destination.auth.api_keys import is_prosperstack_key
from prosperstack_destination.cli import output
from prosperstack_destination.cli.serving_record import prosperstack_base_url
from prosperstack_destination.clock import system_clock
from prosperstack_destination.errors import (
    ConfigurationError,
    DestinationError,
    ProsperStackAuthError,
    ProsperStackError,
    ProsperStackRateLimited,
)
from prosperstack_destination.http_client import create_http_client
from prosperstack_destination.prosperstack.client import ProsperStackClient
from prosperstack_destination.settings import Settings
from prosperstack_destination.store.accounts import Account
from prosperstack_destination.store.database import Database
from prosperstack_destination.vault import vault_from_settings

T = TypeVar("T")


def check_key(settings: Settings, key: str) -> None:
    """Raise `ConfigurationError` if ProsperStack refuses a key, or does not answer.

    Text that has not the form of a ProsperStack key is not sent.
    """
    if not is_prosperstack_key(key):
        return
    try:
        _request(settings, key, lambda client: client.list_properties())
    except ProsperStackRateLimited:
        return  # the key was not refused
    except ProsperStackAuthError as refusal:
        raise ConfigurationError(f"{refusal} Nothing was changed: copy the key again from ProsperStack.") from None
    except ProsperStackError as error:
        raise ConfigurationError(
            f"The key could not be checked at {prosperstack_base_url(settings)}: {error} Nothing was changed. Try "
            "again, or use --unchecked if this machine cannot reach ProsperStack."
        ) from None


def with_current_catalog(settings: Settings, account: Account) -> Account:
    """Return the account with its current properties; without an answer, warn and return it unchanged."""

    async def refresh(client: ProsperStackClient) -> Account:
        database = Database(settings.effective_database_url)
        try:
            await database.open()
            return await refresh_catalog(database, account, client, system_clock())
        finally:
            await database.close()

    try:
        return _request(settings, vault_from_settings(settings).decrypt(account.encrypted_key), refresh)
    except DestinationError as error:
        output.errors.print(
            f"The properties could not be listed, and the stored ones are used: {error}",
            style="yellow",
            markup=False,
        )
        return account


def _request(settings: Settings, key: str, send: Callable[[ProsperStackClient], Awaitable[T]]) -> T:
    async def run() -> T:
        async with create_http_client(None) as http:
            return await send(ProsperStackClient(http, prosperstack_base_url(settings), key))

    return asyncio.run(run())
