"""Files of the service and of its SQLite database: private modes, and a watch for their loss.

Files contain personal data and keys, so only the service's user may read them. SQLite goes on with a file that was
deleted or replaced: what is committed then is lost when the process ends.
"""

import os
import sqlite3
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

import structlog

from prosperstack_destination.errors import ConfigurationError, StoreUnavailable
from prosperstack_destination.store.statements import unavailable

log = structlog.get_logger(__name__)

#: Suffix of the write-ahead log: commits are in it until they are written back.
_LOG: Final = "-wal"

#: A file's device and inode.
_Identity = tuple[int, int]


FOLDER_MODE: Final = 0o700
FILE_MODE: Final = 0o600


def make_private_folder(path: Path) -> None:
    """Create a folder with mode 0700. An existing one is left unchanged. Safe to repeat.

    Raises `ConfigurationError` if it cannot be created.
    """
    try:
        path.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    except OSError as error:
        reason = "it is not a folder" if isinstance(error, FileExistsError) else error.strerror
        raise ConfigurationError(
            f"The data folder {path} cannot be used ({reason}): make it writable for the service's user, or set "
            "DATA_DIR to another folder."
        ) from error


def restrict_to_owner(path: Path) -> None:
    """Remove all permissions but the owner's from a folder or file, if this process may.

    Shared folders are left unchanged: the working directory, and sticky ones such as /tmp.
    """
    with suppress(OSError):  # missing, or owned by another user
        found = path.stat()
        shared = stat.S_ISDIR(found.st_mode) and (found.st_mode & stat.S_ISVTX or path.samefile(Path.cwd()))
        if found.st_mode & 0o077 and not shared:
            path.chmod(stat.S_IMODE(found.st_mode) & FOLDER_MODE)


def make_private_file(path: Path) -> None:
    """Create an empty file with mode 0600; restrict an existing one to its owner."""
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, FILE_MODE))
    restrict_to_owner(path)


class FileWatch:
    """Watch of the files that a database was opened with. A check takes two microseconds a file.

    A file that returns is used again; another one in its place is not, until the service restarts.
    """

    def __init__(self) -> None:
        #: Path of the database; None: in memory, or not opened yet.
        self._path: str | None = None
        self._database: _Identity | None = None
        self._log: _Identity | None = None
        #: Latest logged fault.
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
        """Check the database as `check` does, and the log, whose file ``driver`` has open."""
        self.check()
        if self._path is None:
            return
        if self._log is None:
            self._log = _identity(self._path + _LOG)
            return
        fault = _fault(self._path, _LOG, self._log)
        if fault is None:
            return
        if driver.execute("PRAGMA journal_mode").fetchone() != ("wal",):  # it has no log any more
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
