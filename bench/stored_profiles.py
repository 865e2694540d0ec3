"""Ingest with many stored profiles, next to an empty database."""

import asyncio
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from bench.load import Measured, full
from bench.servers import PORT, empty_service, service
from pydantic import JsonValue
from rich.console import Console

from prosperstack_destination.store.database import Database
from prosperstack_destination.store.merge_calls import ingest_calls
from prosperstack_destination.store.models import Identify

EMPTY: Final = "this service, with an empty database"
STORED: Final = "this service, with stored profiles"
_TRAITS: Final[dict[str, JsonValue]] = {
    "plan": "premium",
    "logins": 5,
    "name": "Jane Doe",
    "Preferred name": "Jane",
    "title": "Vice President",
}
_BATCH: Final = 5_000


def measure(folder: Path, count: int, runs: int, seconds: int, console: Console) -> dict[str, list[Measured]]:
    """Return runs with ``count`` stored profiles, and with an empty database, in turns."""
    full_folder = folder / "full"
    with service(PORT, DATA_DIR=str(full_folder)):
        pass  # it makes the tables, and its account
    console.print(f"storing {count:,} profiles", style="dim")
    asyncio.run(_store(full_folder, count))
    name = f"{STORED}: {count:,}"
    measured: dict[str, list[Measured]] = {EMPTY: [], name: []}
    for number in range(1, runs + 1):
        console.print(f"run {number} of {runs}: {name}", style="dim")
        with empty_service(folder / "service") as process:
            measured[EMPTY].append(full(process, seconds))
        os.sync()  # what was written to make it ready is not to be waited for
        with service(PORT, DATA_DIR=str(full_folder)) as process:
            measured[name].append(full(process, seconds))
        _forget_callers(full_folder)
    return measured


async def _store(folder: Path, count: int) -> None:
    """Fill a database with profiles of as many people."""
    database = Database(f"sqlite:///{folder / 'destination.db'}")
    await database.open()
    [account_id] = await database.read(
        lambda connection: connection.exec_driver_sql("SELECT id FROM accounts").one()
    )
    for start in range(0, count, _BATCH):
        calls = [
            Identify(account_id, email, email, _TRAITS, 1, 1, user_id=f"user-{n}-stored")
            for n in range(start, min(start + _BATCH, count))
            if (email := f"jane.doe.{n}@stored.example.com")
        ]
        await database.write(ingest_calls, calls, str)
    await database.close()


def _forget_callers(folder: Path) -> None:
    """Delete the people of a run's calls, who are new to the next run, as to an empty database."""
    with closing(sqlite3.connect(folder / "destination.db")) as database, database:
        for table in ("profiles", "identities"):
            database.execute(f"DELETE FROM {table} WHERE email LIKE '%@example.com'")  # noqa: S608 -- names of our own
