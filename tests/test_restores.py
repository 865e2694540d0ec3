"""Backups of both databases, restored as docs/how-to/back-up.md says, and compared."""

import asyncio
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from sqlalchemy import Connection, select

from prosperstack_destination.store.database import Database
from prosperstack_destination.store.tables import erasures, identities, inbound_keys, profiles, recent_calls
from support.cluster import KEY, SEGMENT_KEY, SETTLE_SECONDS, Process, Sandbox, sandbox
from support.postgres import Server
from support.processes import command, environment, free_port

pytestmark = pytest.mark.whole

SECRET = "a secret that is long enough"
#: Tables of traits and of the calls that brought them.
TABLES = (profiles, identities, erasures, inbound_keys, recent_calls)


def content(connection: Connection) -> dict[str, set[tuple[Any, ...]]]:
    """Return the rows of the tables that deliveries do not change: a unit of work."""
    changing = {
        *("status", "status_reason", "pending_since", "due_at", "looked_up_at", "attempts", "lost_at"),
        "last_used_at",
    }
    columns = {table: [each for each in table.c if each.name not in changing] for table in TABLES}
    return {table.name: {tuple(row) for row in connection.execute(select(*columns[table]))} for table in TABLES}


def stored(url: str) -> dict[str, set[tuple[Any, ...]]]:
    """Return the content of a database."""

    async def load() -> dict[str, set[tuple[Any, ...]]]:
        database = Database(url)
        try:
            return await database.read(content)
        finally:
            await database.close()

    return asyncio.run(load())


def unchanged(url: str, act: Callable[[], str]) -> tuple[dict[str, set[tuple[Any, ...]]], str]:
    """Return the content of a database that no delivery changed during an action, and the action's result."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        before, result = stored(url), act()
        if stored(url) == before:
            return before, result
        assert time.monotonic() < deadline, "deliveries never ended"


class Operator:
    """An operator who runs the service and its commands in a folder."""

    def __init__(self, folder: Path, api: Sandbox, **settings: str) -> None:
        self.folder = folder
        self._settings = {
            "SECRET_KEY": SECRET,
            "PROSPERSTACK_API_KEY": KEY,
            "SEGMENT_KEYS": SEGMENT_KEY,
            "PROSPERSTACK_BASE_URL": api.url,
            "LOG_FORMAT": "json",
            **settings,
        }

    def run(self, *arguments: str) -> str:
        """Run a command, and return what it prints."""
        done = subprocess.run(  # noqa: S603 -- our own command
            command(*arguments),
            cwd=self.folder,
            env=environment(**self._settings),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @contextmanager
    def serving(self) -> Iterator[Process]:
        """Run the service during the block."""
        process = Process([], free_port(), self.folder, self._settings)
        process.start()
        try:
            process.await_ready()
            yield process
        finally:
            process.stop()

    def steps(self) -> dict[str, dict[str, str]]:
        """Return what `doctor --after-restore` finds, by step."""
        found = json.loads(self.run("doctor", "--after-restore", "--offline", "--json"))
        return {
            each["what"].removeprefix("restore, "): each for each in found if each["what"].startswith("restore")
        }


def back_up(operator: Operator) -> str:
    """Copy the database to a new file."""
    (operator.folder / "backup.db").unlink(missing_ok=True)
    return operator.run("db", "backup", "backup.db")


def identify(process: Process, emails: list[str], name: str) -> None:
    """Send a call about each person."""
    for email in emails:
        call = {"traits": {"email": email, "Preferred name": name}}
        answer = httpx.post(f"{process.url}/identify", json=call, auth=(SEGMENT_KEY, ""), trust_env=False)
        assert answer.status_code == 202, answer.text


def delivered(api: Sandbox, emails: list[str], name: str) -> bool:
    """Return True if ProsperStack has the name for each person."""
    values = api.values()
    return all(values[email].get("preferred_name") == name for email in emails)


def recover_lost_calls(operator: Operator, api: Sandbox, emails: list[str]) -> None:
    """Follow the steps after a restore, and see ProsperStack get what was lost."""
    steps = operator.steps()
    assert {name: each["health"] for name, each in steps.items()} == {
        "integrity": "ok",
        **dict.fromkeys(["calls", "deletions", "credentials", "mapping", "ProsperStack"], "warning"),
    }
    assert "UTC" in steps["calls"]["found"]
    assert "replay --yes" in steps["ProsperStack"]["advice"]
    with operator.serving() as process:
        operator.run("replay", "--yes")
        identify(process, emails, "Third")  # as Segment replays them
        deadline = time.monotonic() + SETTLE_SECONDS
        while not delivered(api, emails, "Third"):
            assert time.monotonic() < deadline, process.log[-2000:]
            time.sleep(0.05)


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Sandbox]:
    with sandbox(tmp_path, 5) as running:
        yield running


def test_sqlite_backup_restores_its_moment(tmp_path: Path, api: Sandbox) -> None:
    """A copy that was made while the service ran has what it had then, and the steps bring back the rest."""
    operator = Operator(tmp_path, api, DATA_DIR=str(tmp_path / "data"))
    file = tmp_path / "data/destination.db"
    emails = sorted(api.values())
    with operator.serving() as process:
        identify(process, emails, "First")
        before, _ = unchanged(f"sqlite:///{file}", partial(back_up, operator))
        identify(process, emails, "Second")
    for path in file.parent.glob("destination.db*"):
        path.unlink()
    shutil.copy(tmp_path / "backup.db", file)

    assert stored(f"sqlite:///{file}") == before
    assert len(before["profiles"]) == len(emails)
    recover_lost_calls(operator, api, emails)


@pytest.fixture
def archive() -> Iterator[Path]:
    """Folder that the server's user may write to; pytest's own is closed to other users."""
    folder = Path(tempfile.mkdtemp(prefix="archive-"))
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder)


def test_postgresql_is_restored_to_a_point_in_time(tmp_path: Path, api: Sandbox, archive: Path) -> None:
    """A base backup and archived logs give the state of a moment between two calls."""
    server = Server.create(wal_level="replica", archive_mode="on", archive_command=f"'cp %p {archive}/%f'")
    try:
        emails = sorted(api.values())
        operator = Operator(tmp_path, api, DATABASE_URL=server.url)
        with operator.serving() as process:
            identify(process, emails[:2], "First")
            base = server.base_backup()
            identify(process, emails, "Second")
            before, moment = unchanged(
                server.url, lambda: asyncio.run(value(server.url, "SELECT clock_timestamp()::text"))
            )
            identify(process, emails, "Disaster")
        asyncio.run(await_archived(server.url))
        restored = Server.recovered(base, archive, moment)
        try:
            assert stored(restored.url) == before
            assert {row[3] for row in before["profiles"]} >= set(emails)
            recover_lost_calls(Operator(tmp_path, api, DATABASE_URL=restored.url), api, emails)
        finally:
            restored.remove()
    finally:
        server.remove()


async def value(url: str, query: str) -> str:
    """Return the only value of a query."""
    connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    try:
        found: str = await connection.fetchval(query)
        return found
    finally:
        await connection.close()


async def await_archived(url: str) -> None:
    """Close the current log of the server, and wait until it is in the archive."""
    name = await value(url, "SELECT pg_walfile_name(pg_switch_wal())")
    deadline = time.monotonic() + SETTLE_SECONDS
    while (await value(url, "SELECT coalesce(last_archived_wal, '') FROM pg_stat_archiver")) < name:
        assert time.monotonic() < deadline, name
        await asyncio.sleep(0.05)
