"""Transactions on a database."""

import asyncio
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Connection, insert, select, text
from sqlalchemy.exc import IntegrityError

from prosperstack_destination.errors import ConfigurationError, StoreUnavailable
from prosperstack_destination.store.database import Database
from prosperstack_destination.store.statements import sqlite_driver
from prosperstack_destination.store.tables import accounts
from support.accounts import open_account
from support.intake import identify, take
from support.transactions import begun

pytestmark = pytest.mark.anyio


def pragma(connection: Connection, name: str) -> object:
    return connection.execute(text(f"PRAGMA {name}")).scalar_one()


async def test_commit_is_synced_to_disk(sqlite: Database) -> None:
    """SQLite uses a write-ahead log and syncs it at every commit, as a 202 promises."""
    assert await sqlite.write(pragma, "journal_mode") == "wal"
    assert await sqlite.write(pragma, "synchronous") == 2  # FULL
    assert await sqlite.write(pragma, "foreign_keys") == 1


async def test_failed_transaction_is_rolled_back(database: Database) -> None:
    """A transaction that raises is rolled back, and the next one works."""

    def fail(connection: Connection) -> None:
        open_account(connection)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await database.write(fail)

    assert await database.read(lambda connection: connection.execute(select(accounts)).all()) == []
    await database.write(open_account)


async def test_inline_read_sees_committed_data(database: Database) -> None:
    """An inline read sees what is committed, and raises errors of the code."""

    def ids(connection: Connection) -> list[str]:
        return list(connection.scalars(select(accounts.c.id)))

    assert await database.read_inline(ids) == []
    await database.write(open_account, "acct_1")
    assert await database.read_inline(ids) == ["acct_1"]
    with pytest.raises(ZeroDivisionError):
        await database.read_inline(lambda _connection: 1 / 0)
    assert await database.read_inline(ids) == ["acct_1"]


async def test_inline_read_does_not_wait_for_a_writer(sqlite: Database) -> None:
    """An inline read during a write completes without a turn of the event loop."""
    writing, done = threading.Event(), threading.Event()

    def write_slowly(connection: Connection) -> None:
        open_account(connection)
        writing.set()
        assert done.wait(10)

    writer = asyncio.create_task(sqlite.write(write_slowly))
    await asyncio.to_thread(writing.wait)
    glance = sqlite.read_inline(lambda connection: connection.execute(select(accounts.c.id)).all())
    with pytest.raises(StopIteration) as returned:
        glance.send(None)
    assert returned.value.value == []
    done.set()
    await writer


async def test_broken_constraint_is_no_outage(database: Database) -> None:
    """A broken constraint is a bug, and is raised instead of retried."""
    await database.write(open_account)

    with pytest.raises(IntegrityError):
        await database.write(open_account)


async def test_full_disk_is_reported_and_recovers(sqlite: Database) -> None:
    """A full database reports it, keeps its data, and recovers when there is room."""
    await sqlite.write(open_account)

    def limit(connection: Connection, pages: int) -> None:
        connection.execute(text(f"PRAGMA max_page_count = {pages}"))

    def fill(connection: Connection) -> None:
        connection.execute(insert(accounts), [{**FILLER, "id": str(n), "key_hash": str(n)} for n in range(100)])

    await sqlite.write(limit, 1)
    with pytest.raises(StoreUnavailable, match="full") as caught:
        await sqlite.write(fill)
    assert caught.value.retry_after > 0

    # Also where a statement goes to the driver directly.
    with pytest.raises(StoreUnavailable, match="full"):
        await sqlite.write(take, *[identify(f"{n}@b.c", x="x" * 4000) for n in range(100)])

    await sqlite.write(limit, 1_000_000)
    await sqlite.write(fill)
    rows = await sqlite.read(lambda connection: connection.execute(select(accounts.c.id)).all())
    assert len(rows) == 101


FILLER = {
    "encrypted_key": "x" * 4000,
    "fingerprint": "",
    "live": False,
    "status": "active",
    "created_at": 0,
}


async def test_read_only_file_is_reported(tmp_path: Path) -> None:
    """A read-only database reports it, and acknowledges no call."""
    path = tmp_path / "test.db"
    database = Database(f"sqlite:///{path}")
    await database.open()
    await database.close()
    read_only = Database(f"sqlite:///file:{path}?mode=ro&uri=true")

    with pytest.raises(StoreUnavailable, match="readonly"):
        await read_only.write(open_account)
    await read_only.close()


async def test_two_processes_write(sqlite: Database, tmp_path: Path) -> None:
    """The command line writes to the same file while the service runs."""
    await sqlite.write(open_account)

    with sqlite3.connect(tmp_path / "test.db") as other:
        other.execute("UPDATE accounts SET fingerprint = 'changed'")
    other.close()

    assert await sqlite.read(lambda connection: connection.scalar(select(accounts.c.fingerprint))) == "changed"


def _without_a_log(connection: Connection) -> None:
    """Let the writer run without a write-ahead log, as on disks that do not support it, and without a lock wait."""
    driver = sqlite_driver(connection)
    assert driver is not None
    driver.execute("COMMIT")
    assert driver.execute("PRAGMA journal_mode = DELETE").fetchone() == ("delete",)
    driver.execute("PRAGMA busy_timeout = 0")
    driver.execute("BEGIN IMMEDIATE")


async def test_failed_commit_is_rolled_back(sqlite: Database, tmp_path: Path) -> None:
    """Without a log a commit fails while a reader is active: it is rolled back, and the next one works."""
    await sqlite.write(_without_a_log)
    with closing(sqlite3.connect(tmp_path / "test.db", isolation_level=None)) as other:
        other.execute("BEGIN")
        other.execute("SELECT * FROM accounts").fetchall()
        with pytest.raises(StoreUnavailable, match="locked"):
            await sqlite.write(open_account, "acct_1")

    await sqlite.write(open_account, "acct_2")
    assert await sqlite.write(lambda connection: connection.scalars(select(accounts.c.id)).all()) == ["acct_2"]


async def test_closing_empties_the_log(tmp_path: Path) -> None:
    """After closing, all data is in the file itself, and no connection is open."""
    path = tmp_path / "test.db"
    database = Database(f"sqlite:///{path}")
    await database.open()
    await database.write(open_account)
    await database.close()

    assert not any((tmp_path / f"test.db-{part}").exists() for part in ("wal", "shm"))


async def test_closing_waits_for_running_transactions(postgresql_url: str) -> None:
    """A running transaction completes and its connection is closed; none starts afterwards."""
    database = Database(postgresql_url)
    await database.open()

    async with begun(database, lambda connection: connection.execute(text("SELECT 1"))) as transaction:
        closing = asyncio.create_task(database.close())
        for _ in range(100):
            await asyncio.sleep(0)
        assert not closing.done()
    await closing

    assert transaction.done()
    with pytest.raises(StoreUnavailable, match="closed"):
        await database.read(lambda connection: connection.execute(text("SELECT 1")))


def test_unsupported_database_is_rejected() -> None:
    """A DATABASE_URL of another engine is rejected at the start."""
    with pytest.raises(ConfigurationError, match="DATABASE_URL"):
        Database("mysql://localhost/x")
