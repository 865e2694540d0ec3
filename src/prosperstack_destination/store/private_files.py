"""Private folders and files: they contain personal data and keys, so only the service's user may read them."""

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

from prosperstack_destination.errors import ConfigurationError

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
