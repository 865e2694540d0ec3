"""Fixtures that run commands in this process, on a database of their own."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
from sqlalchemy import Connection
from typer.testing import CliRunner

from prosperstack_destination.account_mapping import dump_catalog
from prosperstack_destination.auth import credentials as issuing
from prosperstack_destination.auth.vault import Vault
from prosperstack_destination.cli import app
from prosperstack_destination.errors import DestinationError
from prosperstack_destination.mapping.catalog import Catalog, Property, PropertyType
from prosperstack_destination.store import accounts
from prosperstack_destination.store.database import Database
from support.clocks import NEW_YEAR
from support.sqlite import place

T = TypeVar("T")

SECRET = "a secret that is long enough"
KEY = "key_test_sandbox"
CATALOG = Catalog(
    [
        Property("preferred_name", "Preferred name", PropertyType.TEXT),
        Property("logins", "Logins", PropertyType.NUMBER),
    ]
)


@dataclass(frozen=True)
class Commands:
    """Command line with its database."""

    folder: Path
    account_id: str

    def run(self, *arguments: str, stdin: str | None = None) -> str:
        """Run a command and return its output. Raises the errors of the command."""
        result = CliRunner().invoke(app, arguments, input=stdin, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout

    def fails(self, *arguments: str) -> str:
        """Run a command that fails, and return its message."""
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code != 0, result.output
        if isinstance(result.exception, DestinationError):
            return str(result.exception)
        return result.output

    def json(self, *arguments: str) -> Any:
        """Run a command with --json and return its output."""
        return json.loads(self.run(*arguments, "--json"))

    def write(self, work: Callable[..., T], *arguments: object) -> T:
        """Run a unit of work in the database."""
        return in_database(self.folder, work, *arguments)


def in_database(folder: Path, work: Callable[..., T], *arguments: object) -> T:
    async def run() -> T:
        database = Database(place(f"sqlite:///{folder / 'destination.db'}"))
        try:
            await database.open()
            return await database.write(work, *arguments)
        finally:
            await database.close()

    return asyncio.run(run())


def open_account(connection: Connection, key: str = KEY) -> str:
    """Open an account with a catalog, and return its ID."""
    account = issuing.open_account(connection, key, Vault(SECRET), "me", NEW_YEAR)
    accounts.set_catalog(connection, account.id, dump_catalog(CATALOG), NEW_YEAR)
    return account.id


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    """Command line with a database that has one account."""
    monkeypatch.chdir(tmp_path)  # a folder without .env
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("SECRET_KEY", SECRET)
    monkeypatch.setenv("PROSPERSTACK_BASE_URL", "http://127.0.0.1:9/v1")  # nothing answers there
    return Commands(tmp_path / "data", in_database(tmp_path / "data", open_account))
