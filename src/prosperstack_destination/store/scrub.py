"""Removal of erased rows from SQLite's write-ahead log, which keeps old versions until it is overwritten."""

import sqlite3
from typing import Final

from sqlalchemy import Connection

#: Time that emptying the log waits for readers, in milliseconds; writers wait as well.
BUSY_MS: Final = 50
_REQUESTED: Final = "scrub_requested"


def request_scrub(connection: Connection) -> None:
    """Request that the write-ahead log is emptied soon after this transaction, which deletes personal data.

    No effect on PostgreSQL, which vacuums by itself.
    """
    if connection.dialect.name == "sqlite":
        connection.info[_REQUESTED] = True


def pop_scrub_request(connection: Connection) -> bool:
    """Return whether a transaction of this connection requested it, and clear the request."""
    return bool(connection.info.pop(_REQUESTED, False))


def empty_log(driver: sqlite3.Connection) -> bool:
    """Checkpoint the log and truncate it to zero bytes. Return False if a transaction still reads from it."""
    (lock_wait,) = driver.execute("PRAGMA busy_timeout").fetchone()
    driver.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
    try:
        busy, _, _ = driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    finally:
        driver.execute(f"PRAGMA busy_timeout = {lock_wait}")
    return not busy
