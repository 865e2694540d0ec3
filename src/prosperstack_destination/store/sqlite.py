"""SQLite engine.

Transactions run in threads: one thread writes, since SQLite allows one writer, and a few read in parallel. A
transaction costs the event loop one hop to a thread. Inline reads run on the event loop: they take a fraction of a
millisecond, while a hop takes several on a processor that is busy with other transactions.
"""

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DatabaseError, InterfaceError, OperationalError
from sqlalchemy.pool import QueuePool

from prosperstack_destination.background import cancel
from prosperstack_destination.errors import ConfigurationError
from prosperstack_destination.store.checkpoint_slices import CheckpointSlices
from prosperstack_destination.store.files import (
    FileWatch,
    make_private_file,
    make_private_folder,
    restrict_to_owner,
)
from prosperstack_destination.store.statements import LOCK_WAIT_SECONDS, sqlite_driver, unavailable

T = TypeVar("T")

#: Durability level: a commit is on disk before 202 is returned; docs/explanation/promises.md says why not NORMAL.
SYNCHRONOUS: Final = "FULL"
#: Size at which the writer checkpoints the log and starts it over, in pages of 4 KB: up to 64 MB next to the
#: database. Most of it was checkpointed in slices before.
CHECKPOINT_PAGES: Final = 16_384
#: Page cache of a connection, in KB.
CACHE_KB: Final = 16_384
#: Maximum number of concurrent reading transactions.
READERS: Final = 3
#: Shortest lock timeout of a transaction that waited long for its turn, in seconds; and the smallest difference
#: for which the connection's lock timeout is changed.
LEAST_LOCK_WAIT_SECONDS: Final = 0.05
LOCK_WAIT_STEP_SECONDS: Final = 0.25
#: Error codes of a damaged file, or one that is not a database. They count as an outage.
_DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
#: Pause between attempts to empty the log after an erasure while readers hold it, in seconds.
SCRUB_AGAIN_SECONDS: Final = 1.0


class Sqlite:
    """SQLite database in a file or in memory."""

    def __init__(self, url: URL) -> None:
        self._files = FileWatch()
        self._writer = _engine(url, self._files, connections=1)
        self._reader = _engine(url, self._files, connections=READERS)
        self._glancer = _engine(url, self._files, connections=1, lock_wait=0.0)
        self._slices = CheckpointSlices(_engine(url, self._files, connections=1, lock_wait=0.0))
        self._write_thread = ThreadPoolExecutor(1, "database-write")
        #: The writer's connection. It is kept open, since fetching it from the pool takes 20 us.
        self._writing: Connection | None = None
        #: Lock timeout of the writer's connection, in seconds.
        self._lock_wait = LOCK_WAIT_SECONDS
        self._read_threads = ThreadPoolExecutor(READERS, "database-read")
        #: True if the log still contains erased rows, and the task that empties it.
        self._unscrubbed = False
        self._scrubbing: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Create the file, and its folder if missing, readable by this user only. Safe to repeat.

        Raises `ConfigurationError` if they cannot be created.
        """
        if self._writer.url.database and self._writer.url.database != ":memory:":
            _make_file(Path(self._writer.url.database))

    async def close(self) -> None:
        """Finish running transactions, empty the log after an erasure, and close the file."""
        if self._scrubbing is not None:
            await cancel([self._scrubbing])
        await self._slices.close()
        if self._unscrubbed:
            await asyncio.get_running_loop().run_in_executor(self._write_thread, self._scrub)
        for threads in (self._write_thread, self._read_threads):
            await asyncio.to_thread(threads.shutdown)
        if self._writing is not None:
            self._writing.close()
        self._writer.dispose()
        self._reader.dispose()
        self._glancer.dispose()

    async def run(self, work: Callable[[Connection], T], *, writing: bool) -> T:
        """Run ``work`` in a transaction on a thread."""
        with _outages_told():
            loop = asyncio.get_running_loop()
            if writing:
                result = await loop.run_in_executor(self._write_thread, self._write, work, time.monotonic())
                self._slices.start_if_large()
                if self._unscrubbed and (self._scrubbing is None or self._scrubbing.done()):
                    self._scrubbing = asyncio.create_task(self._scrub_until_done(), name="scrub")
                return result
            return await loop.run_in_executor(self._read_threads, self._read, self._reader, work)

    async def read_inline(self, work: Callable[[Connection], T]) -> T:
        """Run ``work``, which reads a few rows, on the event loop. It never waits for a lock: WAL readers need
        none.
        """
        with _outages_told():
            return self._read(self._glancer, work)

    def _read(self, engine: Engine, work: Callable[[Connection], T]) -> T:
        self._files.check()
        with engine.connect() as connection:
            return _transaction(connection, work, "BEGIN")

    def _write(self, work: Callable[[Connection], T], handed_in: float) -> T:
        """Run ``work`` in a transaction that was submitted at ``submitted_at`` (monotonic clock, seconds).

        The files are checked before and after the transaction: a commit into a deleted file is not accepted.
        """
        self._files.check()
        if self._writing is None or self._writing.closed:
            self._writing = self._writer.connect()
            self._lock_wait = LOCK_WAIT_SECONDS
        driver = sqlite_driver(self._writing)
        try:
            if driver is not None:
                self._files.check_log(driver)
                self._wait_for_locks(driver, LOCK_WAIT_SECONDS - (time.monotonic() - handed_in))
            result = _transaction(self._writing, work, "BEGIN IMMEDIATE")
            self._unscrubbed |= pop_scrub_request(self._writing)
            if driver is not None:
                self._files.check_log(driver)
            return result
        except BaseException:
            if driver is not None and driver.in_transaction:  # as after a failed commit
                driver.rollback()
            raise

    def _wait_for_locks(self, driver: sqlite3.Connection, seconds: float) -> None:
        """Set the writer's lock timeout to the rest of the transaction's time, in steps."""
        seconds = max(seconds, LEAST_LOCK_WAIT_SECONDS)
        if abs(seconds - self._lock_wait) >= LOCK_WAIT_STEP_SECONDS:
            driver.execute(f"PRAGMA busy_timeout = {round(seconds * 1000)}")
            self._lock_wait = seconds

    async def _scrub_until_done(self) -> None:
        while self._unscrubbed:
            await asyncio.get_running_loop().run_in_executor(self._write_thread, self._scrub)
            if self._unscrubbed:
                await asyncio.sleep(SCRUB_AGAIN_SECONDS)

    def _scrub(self) -> None:
        driver = None if self._writing is None else sqlite_driver(self._writing)
        with suppress(sqlite3.Error):  # full or read-only: the next attempt, or `close`, repeats it
            self._unscrubbed = driver is not None and not empty_log(driver)


def _make_file(path: Path) -> None:
    make_private_folder(path.parent)
    if path.is_dir():
        raise ConfigurationError(f"DATABASE_URL names {path}, which is a folder: name a file in it.")
    with suppress(OSError):  # a full or read-only disk is an outage, which the next transaction reports
        make_private_file(path)
    for suffix in ("-wal", "-shm"):  # SQLite gives new ones the mode of the database file
        restrict_to_owner(path.with_name(path.name + suffix))


def _transaction(connection: Connection, work: Callable[[Connection], T], begin: str) -> T:
    # BEGIN and COMMIT go to the driver: SQLAlchemy takes as long for them as for the whole merge of a call.
    driver = sqlite_driver(connection)
    assert driver is not None  # noqa: S101 -- this module's engines are SQLite's
    driver.execute(begin)
    try:
        result = work(connection)
        if connection.in_transaction():  # SQLAlchemy began one of its own with the first statement that it ran
            connection.commit()
        else:
            driver.commit()
    except BaseException:
        connection.rollback()
        driver.rollback()
        raise
    return result


@contextmanager
def _outages_told() -> Iterator[None]:
    """Translate errors that mean an outage (full, locked, damaged, unreachable) to `StoreUnavailable`."""
    try:
        yield
    except (OperationalError, InterfaceError) as error:
        raise unavailable(error.orig) from error
    except (sqlite3.OperationalError, sqlite3.InterfaceError) as error:  # from a statement that ran on the driver
        raise unavailable(error) from error
    except DatabaseError as error:
        if _is_damage(error.orig):
            raise unavailable(error.orig) from error
        raise
    except sqlite3.DatabaseError as error:
        if _is_damage(error):
            raise unavailable(error) from error
        raise


def _is_damage(error: BaseException | None) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED  # the lowest byte is the primary result code


def _engine(url: URL, files: FileWatch, *, connections: int, lock_wait: float = LOCK_WAIT_SECONDS) -> Engine:
    engine = create_engine(
        url,
        poolclass=QueuePool,
        pool_size=connections,
        max_overflow=0,
        hide_parameters=True,  # error messages must not quote personal data
        pool_reset_on_return=None,  # `_transaction` always ends its transactions
        connect_args={"timeout": lock_wait, "check_same_thread": False},
    )

    @event.listens_for(engine, "connect")
    def _prepare(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # BEGIN is sent by `_transaction`, not guessed by sqlite3
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {SYNCHRONOUS}")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA secure_delete = ON")  # deleted rows are overwritten in the file
        # Random inserts touch many pages: a larger checkpoint writes each page less often.
        connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        connection.execute(f"PRAGMA cache_size = -{CACHE_KB}")
        files.record_opened(connection)

    return engine


#: Time that emptying the log waits for readers, in milliseconds; writers wait as well.
BUSY_MS: Final = 50
_SCRUB_REQUESTED: Final = "scrub_requested"


def request_scrub(connection: Connection) -> None:
    """Request that the write-ahead log is emptied soon after this transaction, which deletes personal data.

    No effect on PostgreSQL, which vacuums by itself.
    """
    if connection.dialect.name == "sqlite":
        connection.info[_SCRUB_REQUESTED] = True


def pop_scrub_request(connection: Connection) -> bool:
    """Return whether a transaction of this connection requested it, and clear the request."""
    return bool(connection.info.pop(_SCRUB_REQUESTED, False))


def empty_log(driver: sqlite3.Connection) -> bool:
    """Checkpoint the log and truncate it to zero bytes. Return False if a transaction still reads from it."""
    (lock_wait,) = driver.execute("PRAGMA busy_timeout").fetchone()
    driver.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
    try:
        busy, _, _ = driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    finally:
        driver.execute(f"PRAGMA busy_timeout = {lock_wait}")
    return not busy
