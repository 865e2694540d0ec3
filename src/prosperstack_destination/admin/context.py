"""Context of operations on an account: a part of `AdminServices` in the service, built here for a command."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from prosperstack_destination.account_mapping import refresh_catalog
from prosperstack_destination.clock import Clock
from prosperstack_destination.errors import DestinationError
from prosperstack_destination.prosperstack.client import ProsperStackClient
from prosperstack_destination.store.accounts import Account
from prosperstack_destination.store.database import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminContext:
    """Dependencies of operations on an account, in the service and in a command."""

    database: Database
    clock: Clock
    #: Part of ProsperStack's rate limit that is kept free for the account's owner, from 0 to less than 1.
    reserve: float
    #: Reports a changed mapping: calls are read by it from now on, and stored profiles are evaluated again.
    on_change: Callable[[], None]
    #: Wakes the workers of the accounts with these IDs: they have due work.
    wake: Callable[[Iterable[str]], None]
    #: Lists an account's properties in ProsperStack now, and stores them. Raises `ProsperStackError`.
    refresh_catalog: Callable[[Account], Awaitable[Account]]
    #: Held during a scan of all profiles, so that one scan at a time competes with ingest for the database.
    scan_lock: asyncio.Lock


def command_context(
    database: Database,
    clock: Clock,
    reserve: float,
    connect: Callable[[Account], AbstractAsyncContextManager[ProsperStackClient]],
    on_failure: Callable[[DestinationError], None],
) -> AdminContext:
    """Return the context of operations in a command. It wakes no worker: the reconciler polls every second.

    ``on_failure`` is called if an account's properties cannot be listed; the stored ones are used then.
    """

    async def refresh(account: Account) -> Account:
        try:
            async with connect(account) as client:
                return await refresh_catalog(database, account, client, clock())
        except DestinationError as error:
            on_failure(error)
            return account

    return AdminContext(
        database=database,
        clock=clock,
        reserve=reserve,
        on_change=lambda: None,
        wake=lambda _: None,
        refresh_catalog=refresh,
        scan_lock=asyncio.Lock(),
    )
