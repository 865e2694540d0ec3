"""Folders and files that only the user who runs the service can read: they have people's data and keys."""

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

from prosperstack_destination.errors import ConfigurationError

FOLDER_MODE: Final = 0o700
FILE_MODE: Final = 0o600


def make_private_folder(path: Path) -> None:
    """Make a folder with mode 0700 where there is none; one that is there stays as it is. Safe to repeat.

    Raises `ConfigurationError` where that cannot be done.
    """
    try:
        path.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    except OSError as error:
        reason = "it is no folder" if isinstance(error, FileExistsError) else error.strerror
        raise ConfigurationError(
            f"The data folder {path} cannot be used ({reason}): give it to the user who runs the service, or set "
            "DATA_DIR to another one."
        ) from error


def close_to_others(path: Path) -> None:
    """Take everybody's rights but the owner's away from a folder or a file, where this process may do so.

    A folder that the service shares with others stays as it is: the working directory, or a sticky one as /tmp.
    """
    with suppress(OSError):  # it is not there, or another user's
        found = path.stat()
        shared = stat.S_ISDIR(found.st_mode) and (found.st_mode & stat.S_ISVTX or path.samefile(Path.cwd()))
        if found.st_mode & 0o077 and not shared:
            path.chmod(stat.S_IMODE(found.st_mode) & FOLDER_MODE)


def make_private_file(path: Path) -> None:
    """Make an empty file with mode 0600 where there is none, and close one that is there to others."""
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, FILE_MODE))
    close_to_others(path)
