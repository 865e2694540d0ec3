"""What the operators' commands share: the settings, the database, and which account is meant."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from sqlalchemy import Connection

from prosperstack_destination.errors import Misconfigured
from prosperstack_destination.settings import Settings, read_settings
from prosperstack_destination.state import accounts
from prosperstack_destination.state.accounts import Account
from prosperstack_destination.state.database import Database

T = TypeVar("T")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def in_database(work: Callable[[Connection], T], settings: Settings | None = None) -> T:
    """Run a unit of work in the service's database, which may be running."""

    async def run() -> T:
        database = Database((settings or read_settings()).effective_database_url)
        try:
            await database.open()
            return await database.write(work)
        finally:
            await database.close()

    return asyncio.run(run())


def chosen_account(connection: Connection, name: str | None) -> Account:
    """The account of this id or fingerprint, or the only one. Raises `Misconfigured` that names those there are."""
    every = accounts.every(connection)
    found = [each for each in every if name is None or name in (each.id, each.fingerprint)]
    if len(found) == 1:
        return found[0]
    if not every:
        raise Misconfigured("There is no account yet: the first call with its key opens it, or `accounts add`.")
    known = ", ".join(each.fingerprint for each in every)
    wrong = "There are several accounts" if name is None else f"There is no account {name!r}"
    raise Misconfigured(f"{wrong}: choose one with --account ({known}).")


def shown_time(at: int | None) -> str:
    """A time for people, in UTC; "" for None."""
    return "" if at is None else f"{_EPOCH + timedelta(microseconds=at):%Y-%m-%d %H:%M:%S}"
