"""Running units of work in transactions.

A unit of work is a plain function of a SQLAlchemy ``Connection``. On SQLite it runs in a thread: one thread
writes (SQLite has one writer anyway), a few read beside it, so a whole transaction costs the event loop one
hop and never waits inside it.
"""

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Concatenate, Final, ParamSpec, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.pool import QueuePool

from prosperstack_destination.errors import Misconfigured, StoreUnavailable
from prosperstack_destination.state import migrating

P = ParamSpec("P")
T = TypeVar("T")

#: How long a transaction waits for another process's lock before it gives up, in seconds.
LOCK_WAIT_SECONDS: Final = 4.0
#: What a caller is told to wait when the database does not take its transaction, in seconds.
RETRY_AFTER_SECONDS: Final = 5.0
#: The write-ahead log is written back at this size, in pages of 4 KB: up to 64 MB beside the database.
CHECKPOINT_PAGES: Final = 16_384
#: What a connection keeps of the database in memory, in KB.
CACHE_KB: Final = 16_384
#: Reading transactions that may run side by side.
READERS: Final = 3


class Database:
    """A database that is open: hand it units of work.

    Raises `StoreUnavailable` from `read` and `write` where the database is full, locked, read-only or away;
    then nothing of that unit of work was kept.
    """

    def __init__(self, url: str) -> None:
        if make_url(url).get_backend_name() != "sqlite":
            raise Misconfigured(
                "DATABASE_URL names a database that this version does not serve: use sqlite:///path/to/file.db"
            )
        self._writer = _sqlite_engine(url, connections=1, begin="BEGIN IMMEDIATE")
        self._reader = _sqlite_engine(url, connections=READERS, begin="BEGIN")
        self._write_thread = ThreadPoolExecutor(1, "database-write")
        self._read_threads = ThreadPoolExecutor(READERS, "database-read")

    async def open(self) -> None:
        """Make the file where there is none, and bring its schema up to date. Safe to repeat."""
        path = self._writer.url.database
        if path:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        await self.write(migrating.upgrade)

    async def close(self) -> None:
        """Finish what runs, and let go of the file."""
        for threads in (self._write_thread, self._read_threads):
            await asyncio.to_thread(threads.shutdown)
        self._writer.dispose()
        self._reader.dispose()

    async def write(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``work`` in a transaction that is on disk when this returns."""
        return await self._run(self._write_thread, self._writer, work, *args, **kwargs)

    async def read(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``work`` on one consistent view of the data; it must not write."""
        return await self._run(self._read_threads, self._reader, work, *args, **kwargs)

    async def _run(
        self,
        threads: ThreadPoolExecutor,
        engine: Engine,
        work: Callable[Concatenate[Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        def transaction() -> T:
            with engine.begin() as connection:
                return work(connection, *args, **kwargs)

        try:
            return await asyncio.get_running_loop().run_in_executor(threads, transaction)
        except DBAPIError as error:
            if not _passes(error):
                raise
            raise StoreUnavailable(
                f"The database cannot take the call now ({error.orig}); it is safe to send it again.",
                retry_after=RETRY_AFTER_SECONDS,
            ) from error


def _passes(error: DBAPIError) -> bool:
    """Whether this is the database's state (full, locked, away) and no fault of the unit of work."""
    return isinstance(error, OperationalError | InterfaceError)


def _sqlite_engine(url: str, *, connections: int, begin: str) -> Engine:
    engine = create_engine(
        url,
        poolclass=QueuePool,
        pool_size=connections,
        max_overflow=0,
        connect_args={"timeout": LOCK_WAIT_SECONDS, "check_same_thread": False},
    )

    @event.listens_for(engine, "connect")
    def _prepare(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # transactions begin where we say, not where sqlite3 guesses
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")  # a commit is on disk: that is what 202 promises
        connection.execute("PRAGMA foreign_keys = ON")
        # Random inserts touch many pages: larger checkpoints write each of them less often.
        connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        connection.execute(f"PRAGMA cache_size = -{CACHE_KB}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine
