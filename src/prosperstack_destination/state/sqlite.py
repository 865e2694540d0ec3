"""Transactions on SQLite.

They run in threads: one thread writes (SQLite has one writer anyway), a few read beside it, so a whole transaction
costs the event loop one hop and never waits inside it.
"""

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.pool import QueuePool

from prosperstack_destination.state.unavailable import LOCK_WAIT_SECONDS, unavailable

T = TypeVar("T")

#: The write-ahead log is written back at this size, in pages of 4 KB: up to 64 MB beside the database.
CHECKPOINT_PAGES: Final = 16_384
#: What a connection keeps of the database in memory, in KB.
CACHE_KB: Final = 16_384
#: Reading transactions that may run side by side.
READERS: Final = 3


class Sqlite:
    """One file, or memory."""

    def __init__(self, url: URL) -> None:
        self._writer = _engine(url, connections=1, begin="BEGIN IMMEDIATE")
        self._reader = _engine(url, connections=READERS, begin="BEGIN")
        self._write_thread = ThreadPoolExecutor(1, "database-write")
        self._read_threads = ThreadPoolExecutor(READERS, "database-read")

    async def open(self) -> None:
        """Make the folder of the file where there is none. Safe to repeat."""
        path = self._writer.url.database
        if path:
            Path(path).parent.mkdir(parents=True, exist_ok=True)

    async def close(self) -> None:
        """Finish what runs, and let go of the file."""
        for threads in (self._write_thread, self._read_threads):
            await asyncio.to_thread(threads.shutdown)
        self._writer.dispose()
        self._reader.dispose()

    async def run(self, work: Callable[[Connection], T], *, writing: bool) -> T:
        """Run a unit of work in a transaction."""
        engine, threads = (self._writer, self._write_thread) if writing else (self._reader, self._read_threads)

        def transaction() -> T:
            with engine.begin() as connection:
                return work(connection)

        try:
            return await asyncio.get_running_loop().run_in_executor(threads, transaction)
        except DBAPIError as error:
            if not _passes(error):
                raise
            raise unavailable(error.orig) from error


def _passes(error: DBAPIError) -> bool:
    """Whether this is the database's state (full, locked, away) and no fault of the unit of work."""
    return isinstance(error, OperationalError | InterfaceError)


def _engine(url: URL, *, connections: int, begin: str) -> Engine:
    engine = create_engine(
        url,
        poolclass=QueuePool,
        pool_size=connections,
        max_overflow=0,
        pool_reset_on_return=None,  # every transaction here is ended by whoever began it
        connect_args={"timeout": LOCK_WAIT_SECONDS, "check_same_thread": False},
    )

    @event.listens_for(engine, "connect")
    def _prepare(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # transactions begin where we say, not where sqlite3 guesses
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")  # a commit is on disk: that is what 202 promises
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA secure_delete = ON")  # what is deleted is not left in the file's free space
        # Random inserts touch many pages: larger checkpoints write each of them less often.
        connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        connection.execute(f"PRAGMA cache_size = -{CACHE_KB}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine
