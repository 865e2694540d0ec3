"""Notices when the files of an open SQLite database are deleted, moved or replaced.

SQLite goes on with a file that has no name any more: what is committed then is lost when the process ends.
"""

import os
import sqlite3
from pathlib import Path
from typing import Final

import structlog

from prosperstack_destination.errors import StoreUnavailable
from prosperstack_destination.store.dialects import unavailable

log = structlog.get_logger(__name__)

#: The write-ahead log: commits are in it until they are written back.
_LOG: Final = "-wal"

#: A file's device and inode.
_Identity = tuple[int, int]


class FileWatch:
    """The files that a database was opened with. Looking costs two microseconds a file.

    A file that comes back is used again; another one in its place is not, until the service starts again.
    """

    def __init__(self) -> None:
        #: None: it is in memory, or not opened yet.
        self._path: str | None = None
        self._database: _Identity | None = None
        self._log: _Identity | None = None
        #: What is wrong, as it was logged.
        self._fault: str | None = None

    def record_opened(self, driver: sqlite3.Connection) -> None:
        """Note the file of the first connection."""
        if self._path is None:
            path = driver.execute("PRAGMA database_list").fetchone()[2]
            self._database = _identity(path) if path else None
            self._path = path or None

    def check(self) -> None:
        """Raise `StoreUnavailable` where the database is not the file that was opened."""
        if self._path is None:
            return
        fault = _fault(self._path, "", self._database)
        self._note(fault)
        if fault is not None:
            raise _gone(fault)

    def check_log(self, driver: sqlite3.Connection) -> None:
        """`check`, and the same for the log, of which ``driver`` has the file open."""
        self.check()
        if self._path is None:
            return
        if self._log is None:
            self._log = _identity(self._path + _LOG)
            return
        fault = _fault(self._path, _LOG, self._log)
        if fault is None:
            return
        if driver.execute("PRAGMA journal_mode").fetchone() != ("wal",):  # it goes without a log by now
            self._log = None
            return
        self._note(fault)
        raise _gone(fault)

    def _note(self, fault: str | None) -> None:
        if fault == self._fault:
            return
        self._fault = fault
        if fault is None:
            log.warning("the database's file is back; it is used again")
        else:
            log.error("the database's file is not the one that was opened; no calls are accepted", reason=fault)


def _fault(path: str, suffix: str, expected: _Identity | None) -> str | None:
    found = _identity(path + suffix)
    if found == expected:
        return None
    name = Path(path).name + suffix
    if found is None:
        return f"{name} was deleted or moved while the service is running"
    return f"{name} was replaced by another file while the service is running"


def _identity(path: str) -> _Identity | None:
    try:
        status = os.stat(path)  # noqa: PTH116 -- a `Path` for each transaction would cost as much as the look
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _gone(fault: str) -> StoreUnavailable:
    return unavailable(f"{fault}: put the original file back, or restart the service")
