"""Requests of commands to ProsperStack: check a key, and run operations that may list an account's properties."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar

from prosperstack_destination.admin.accounts import check_key
from prosperstack_destination.admin.context import AdminContext, command_context
from prosperstack_destination.cli import output, session
from prosperstack_destination.clock import system_clock
from prosperstack_destination.errors import DestinationError
from prosperstack_destination.http_client import create_http_client
from prosperstack_destination.prosperstack.client import ProsperStackClient
from prosperstack_destination.serving_record import prosperstack_base_url
from prosperstack_destination.settings import Settings, read_settings
from prosperstack_destination.settings_vault import vault_from_settings
from prosperstack_destination.store.accounts import Account

T = TypeVar("T")


def run_operation(work: Callable[[AdminContext], Awaitable[T]]) -> T:
    """Run an operation of the service in this process."""
    settings = read_settings()

    async def operate(database: Any) -> T:
        connect = partial(_connect_account, settings)
        context = command_context(database, system_clock, settings.rate_limit_reserve, connect, _warn_of_stored)
        return await work(context)

    return session.run(operate)


def check_prosperstack_key(key: str) -> None:
    """Raise `InvalidInput` if ProsperStack refuses a key, or does not answer."""
    settings = read_settings()

    async def check() -> None:
        async with _connect(settings, key) as client:
            await check_key(client, key, prosperstack_base_url(settings))

    asyncio.run(check())


@asynccontextmanager
async def _connect_account(settings: Settings, account: Account) -> AsyncIterator[ProsperStackClient]:
    async with _connect(settings, vault_from_settings(settings).decrypt(account.encrypted_key)) as client:
        yield client


@asynccontextmanager
async def _connect(settings: Settings, key: str) -> AsyncIterator[ProsperStackClient]:
    async with create_http_client(None) as http:
        yield ProsperStackClient(http, prosperstack_base_url(settings), key)


def _warn_of_stored(error: DestinationError) -> None:
    output.errors.print(
        f"The properties could not be listed, and the stored ones are used: {error}", style="yellow", markup=False
    )
