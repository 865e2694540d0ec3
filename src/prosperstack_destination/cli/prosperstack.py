"""Asking ProsperStack from a command: whether it takes a key, and which properties an account has."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from prosperstack_destination.account_mapping import refresh_catalog
from prosperstack_destination.auth.api_keys import is_prosperstack_key
from prosperstack_destination.cli import output
from prosperstack_destination.cli.connected import prosperstack_base_url
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
    """Raise `ConfigurationError` where ProsperStack refuses a key, or cannot be asked. Other text is not asked
    about.
    """
    if not is_prosperstack_key(key):
        return
    try:
        _ask(settings, key, lambda prosperstack: prosperstack.list_properties())
    except ProsperStackRateLimited:
        return  # only a good key is told so
    except ProsperStackAuthError as refusal:
        raise ConfigurationError(f"{refusal} Nothing was changed: copy the key again from ProsperStack.") from None
    except ProsperStackError as error:
        raise ConfigurationError(
            f"The key could not be checked at {prosperstack_base_url(settings)}: {error} Nothing was changed. Try "
            "again, or use --unchecked where ProsperStack cannot be reached from here."
        ) from None


def refreshed(settings: Settings, account: Account) -> Account:
    """The account with its properties listed now; as it was, with a warning, where ProsperStack cannot be asked."""

    async def refresh(prosperstack: ProsperStackClient) -> Account:
        database = Database(settings.effective_database_url)
        try:
            await database.open()
            return await refresh_catalog(database, account, prosperstack, system_clock())
        finally:
            await database.close()

    try:
        return _ask(settings, vault_from_settings(settings).decrypt(account.encrypted_key), refresh)
    except DestinationError as error:
        output.errors.print(f"The properties could not be listed now: {error}", style="yellow", markup=False)
        return account


def _ask(settings: Settings, key: str, question: Callable[[ProsperStackClient], Awaitable[T]]) -> T:
    async def run() -> T:
        async with create_http_client(None) as http:
            return await question(ProsperStackClient(http, prosperstack_base_url(settings), key))

    return asyncio.run(run())
