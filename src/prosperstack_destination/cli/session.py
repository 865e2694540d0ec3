"""What the operators' commands share: the settings, the database, and which account is meant."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection

from prosperstack_destination.errors import ConfigurationError, DestinationError, StoreUnavailable
from prosperstack_destination.settings import Settings, read_settings
from prosperstack_destination.store import accounts
from prosperstack_destination.store.accounts import Account
from prosperstack_destination.store.database import Database, parse_database_url

T = TypeVar("T")


def write(work: Callable[[Connection], T], settings: Settings | None = None) -> T:
    """Run a unit of work in the service's database, which may be running."""

    async def run() -> T:
        database = Database((settings or read_settings()).effective_database_url)
        try:
            await database.open()
            return await database.write(work)
        finally:
            await database.close()

    return asyncio.run(run())


def run(settings: Settings, work: Callable[[Database], Awaitable[T]]) -> T:
    """Run what takes many short transactions: the service may go on beside it."""

    async def run() -> T:
        database = Database(settings.effective_database_url)
        try:
            await database.open()
            return await work(database)
        finally:
            await database.close()

    return asyncio.run(run())


def read(work: Callable[[Connection], T], settings: Settings | None = None) -> T:
    """Run a unit of work that only reads, in a database that has to be there: it is neither made nor migrated.

    Raises `ConfigurationError` that says what to do where there is none, or one of another version.
    """
    url = (settings or read_settings()).effective_database_url
    file = parse_database_url(url).database
    if parse_database_url(url).get_backend_name() == "sqlite" and not (file and Path(file).exists()):
        raise ConfigurationError(
            f"There is no database at {file} yet: `serve` makes it, or set DATA_DIR to where it is."
        )

    async def run() -> T:
        database = Database(url)
        try:
            return await database.read(work)
        except StoreUnavailable as error:
            if "no such" in str(error) or "does not exist" in str(error):
                raise ConfigurationError(
                    "The database is of another version than this command: `serve` of this version brings it up to "
                    f"date. ({error.__cause__})"
                ) from error
            raise
        finally:
            await database.close()

    return asyncio.run(run())


def resolve_account(connection: Connection, name: str | None) -> Account:
    """The account of this id or fingerprint, or the only one. Raises `ConfigurationError` that names those
    there are.
    """
    every = accounts.all_accounts(connection)
    found = [each for each in every if name is None or name in (each.id, each.fingerprint)]
    if len(found) == 1:
        return found[0]
    if not every:
        raise ConfigurationError(
            "There is no account yet: the first call with its key opens it, or `accounts add`."
        )
    known = ", ".join(each.fingerprint for each in every)
    wrong = "There are several accounts" if name is None else f"There is no account {name!r}"
    raise ConfigurationError(f"{wrong}: choose one with --account ({known}).")


def account_names() -> list[str]:
    """The fingerprints of the accounts, for a shell to complete; none where they cannot be read."""
    try:
        return [each.fingerprint for each in read(accounts.all_accounts)]
    except DestinationError:
        return []
