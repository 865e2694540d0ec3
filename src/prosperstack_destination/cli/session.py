"""Access to settings, database and account that commands share, and their confirmation prompt."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, TypeVar

import typer
from sqlalchemy import Connection

from prosperstack_destination.cli import output
from prosperstack_destination.errors import ConfigurationError, DestinationError, StoreUnavailable
from prosperstack_destination.settings import Settings, read_settings
from prosperstack_destination.store import accounts
from prosperstack_destination.store.accounts import Account
from prosperstack_destination.store.database import Database, parse_database_url

#: Message for a database without an account.
NO_ACCOUNT: Final = "There is no account yet. Send a call with its key, or run `accounts add`."

T = TypeVar("T")


def write(work: Callable[[Connection], T], settings: Settings | None = None) -> T:
    """Run a unit of work in one transaction. The database is created and migrated; the service may be running."""

    async def run() -> T:
        database = Database((settings or read_settings()).effective_database_url)
        try:
            await database.open()
            return await database.write(work)
        finally:
            await database.close()

    return asyncio.run(run())


def run(settings: Settings, work: Callable[[Database], Awaitable[T]]) -> T:
    """Run work of many short transactions, between which a running service continues."""

    async def run() -> T:
        database = Database(settings.effective_database_url)
        try:
            await database.open()
            return await work(database)
        finally:
            await database.close()

    return asyncio.run(run())


def read(work: Callable[[Connection], T], settings: Settings | None = None) -> T:
    """Run a read-only unit of work in an existing database, which is neither created nor migrated.

    Raises `ConfigurationError` with advice if there is no database, or if its schema has another version.
    """
    url = (settings or read_settings()).effective_database_url
    file = parse_database_url(url).database
    if parse_database_url(url).get_backend_name() == "sqlite" and not (file and Path(file).exists()):
        raise ConfigurationError(
            f"There is no database at {file}. Run `serve`, which creates it, or set DATA_DIR to its folder."
        )

    async def run() -> T:
        database = Database(url)
        try:
            return await database.read(work)
        except StoreUnavailable as error:
            if "no such" in str(error) or "does not exist" in str(error):
                raise ConfigurationError(
                    "The schema of the database is not the version of this command. Run `db upgrade`, or `serve` "
                    f"of this version. ({error.__cause__})"
                ) from error
            raise
        finally:
            await database.close()

    return asyncio.run(run())


def resolve_account(connection: Connection, name: str | None) -> Account:
    """Return the account with this ID or fingerprint, or the only account.

    Raises `ConfigurationError` that lists the accounts if none or several match.
    """
    every = accounts.all_accounts(connection)
    matching = [each for each in every if name is None or name in (each.id, each.fingerprint)]
    if len(matching) == 1:
        return matching[0]
    if not every:
        raise ConfigurationError(NO_ACCOUNT)
    names = ", ".join(each.fingerprint for each in every)
    reason = "There are several accounts" if name is None else f"There is no account {name!r}"
    raise ConfigurationError(f"{reason}: choose one with --account ({names}).")


def account_names() -> list[str]:
    """Return the fingerprints of the accounts, for a shell to complete; none if the database cannot be read."""
    try:
        return [each.fingerprint for each in read(accounts.all_accounts)]
    except DestinationError:
        return []


def confirm(consequences: str, *, yes: bool, as_json: bool, style: str | None = None) -> None:
    """Print the consequences of an action and ask for confirmation, which ``yes`` gives in advance.

    Raises `ConfigurationError` without a terminal: a script has to pass --yes.
    """
    if yes:
        if not as_json:
            output.console.print(consequences, markup=False)
        return
    if as_json or not typer.get_text_stream("stdin").isatty():
        raise ConfigurationError(f"{consequences} There is no terminal to confirm in: add --yes to continue.")
    output.console.print(consequences, style=style, markup=False)
    typer.confirm("Continue?", abort=True)
