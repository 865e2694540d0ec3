"""Options that commands share, their access to the database, and their confirmation prompt."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Annotated, Any, Concatenate, Final, ParamSpec, TypeVar

import typer

from prosperstack_destination.admin.accounts import list_accounts, resolve
from prosperstack_destination.admin.database import existing, opened
from prosperstack_destination.auth.vault import Vault
from prosperstack_destination.cli import output
from prosperstack_destination.errors import DestinationError, InvalidInput
from prosperstack_destination.settings import read_settings
from prosperstack_destination.settings_vault import vault_from_settings
from prosperstack_destination.store.accounts import Account as AccountRow
from prosperstack_destination.store.database import UnitOfWork

#: Port and API key of the sandbox that `make run` and `sandbox` start, so that `send` finds it.
SANDBOX_PORT: Final = 8701
SANDBOX_KEY: Final = "key_test_sandbox"

P = ParamSpec("P")
T = TypeVar("T")


def _account_names() -> list[str]:
    """Return the fingerprints of the accounts, for a shell to complete; none if the database cannot be read."""
    try:
        return [each.fingerprint for each in read(list_accounts)]
    except DestinationError:
        return []


Account = Annotated[
    str | None,
    typer.Option(
        "--account",
        help="ID or fingerprint of the account; required if there are several.",
        autocompletion=_account_names,
    ),
]
Author = Annotated[str, typer.Option("--author", envvar="USER", help="Your name, for the audit log.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
Name = Annotated[str, typer.Option("--name", help="A name to recognize it by.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")]


#: Unit of work: its first argument is the database connection of a transaction.
Work = Callable[Concatenate[Any, P], T]


def write(work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a unit of work in one transaction. The database is created and migrated; the service may be running."""
    return run(lambda database: database.write(work, *args, **kwargs))


def read(work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a read-only unit of work in an existing database, which is neither created nor migrated."""
    return run(lambda database: database.read(work, *args, **kwargs), existing)


def write_account(
    name: str | None, work: Callable[Concatenate[Any, AccountRow, P], T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Run a unit of work on the account with this ID or fingerprint, or on the only account."""
    return write(lambda connection: work(connection, resolve(connection, name), *args, **kwargs))


def read_account(
    name: str | None, work: Callable[Concatenate[Any, AccountRow, P], T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Run a read-only unit of work on the account with this ID or fingerprint, or on the only account."""
    return read(lambda connection: work(connection, resolve(connection, name), *args, **kwargs))


def run(
    work: Callable[[UnitOfWork], Awaitable[T]],
    access: Callable[[str], AbstractAsyncContextManager[UnitOfWork]] = opened,
) -> T:
    """Run work of many short transactions, between which a running service continues."""

    async def run() -> T:
        async with access(read_settings().effective_database_url) as database:
            return await work(database)

    return asyncio.run(run())


def load_vault(access: Callable[[str, Vault], AbstractAsyncContextManager[UnitOfWork]] = existing) -> Vault:
    """Return the vault of the settings, with the database's key of pseudonyms."""
    settings = read_settings()
    vault = vault_from_settings(settings)

    async def load() -> None:
        async with access(settings.effective_database_url, vault):
            pass

    asyncio.run(load())
    return vault


def confirm(consequences: str, *, yes: bool, as_json: bool, style: str | None = None) -> None:
    """Print the consequences of an action and ask for confirmation, which ``yes`` gives in advance.

    Raises `InvalidInput` without a terminal: a script has to pass --yes.
    """
    if yes:
        if not as_json:
            output.console.print(consequences, markup=False)
        return
    if as_json or not typer.get_text_stream("stdin").isatty():
        raise InvalidInput(f"{consequences} There is no terminal to confirm in: add --yes to continue.")
    output.console.print(consequences, style=style, markup=False)
    typer.confirm("Continue?", abort=True)
