"""Erasure from SQLite's write-ahead log, which keeps earlier versions of rows until it is written over."""

import sqlite3
from typing import Final

from sqlalchemy import Connection

#: How long the log waits for transactions that still read from it, in milliseconds: calls wait as well meanwhile.
BUSY_MS: Final = 50
_REQUESTED: Final = "scrub_requested"


def request_scrub(connection: Connection) -> None:
    """Empty the write-ahead log soon after this transaction: it deletes what must not be found in any file.

    Nothing happens on PostgreSQL, which vacuums by itself.
    """
    if connection.dialect.name == "sqlite":
        connection.info[_REQUESTED] = True


def take_request(connection: Connection) -> bool:
    """Whether a transaction of this connection has requested it; the request is then taken."""
    return bool(connection.info.pop(_REQUESTED, False))


def empty_log(driver: sqlite3.Connection) -> bool:
    """Write the log back into the database, and cut it to no bytes. False: a transaction still reads from it."""
    (lock_wait,) = driver.execute("PRAGMA busy_timeout").fetchone()
    driver.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
    try:
        busy, _, _ = driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    finally:
        driver.execute(f"PRAGMA busy_timeout = {lock_wait}")
    return not busy
