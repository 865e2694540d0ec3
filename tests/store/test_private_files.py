"""Files that only the service's user can read."""

import os
import stat
from pathlib import Path

import pytest

from prosperstack_destination.auth.vault import read_secret
from prosperstack_destination.errors import ConfigurationError
from prosperstack_destination.serving_record import ServingRecord, load, save
from prosperstack_destination.store.database import Database
from prosperstack_destination.store.files import make_private_folder, restrict_to_owner
from support.accounts import open_account
from support.service import running, settings


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.anyio
async def test_new_database_is_private(tmp_path: Path) -> None:
    """A new folder has mode 0700, the database and its log 0600, for any umask of the process."""
    mask = os.umask(0)
    try:
        database = Database(f"sqlite:///{tmp_path / 'data' / 'new.db'}")
        await database.open()
        await database.write(open_account)
        modes = {path.name: mode(path) for path in (tmp_path / "data").iterdir()}
        await database.close()
    finally:
        os.umask(mask)

    assert mode(tmp_path / "data") == 0o700
    assert modes == {"new.db": 0o600, "new.db-wal": 0o600, "new.db-shm": 0o600}


@pytest.mark.anyio
async def test_readable_data_folder_is_restricted(tmp_path: Path) -> None:
    """A data folder that others can read is restricted at the start, also with SECRET_KEY set."""
    configured = settings(tmp_path)
    configured.data_dir.mkdir(mode=0o755)
    async with running(configured):
        modes = {path.name: mode(path) for path in configured.data_dir.iterdir()}

    assert mode(configured.data_dir) == 0o700
    assert "destination.db" in modes
    assert set(modes.values()) == {0o600}


def test_shared_folder_is_unchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The working directory, and one that all users write to, are not restricted."""
    for name, kind in (("here", 0o755), ("tmp", 0o1777)):
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(kind)
    monkeypatch.chdir(tmp_path / "here")

    restrict_to_owner(tmp_path / "here")
    restrict_to_owner(tmp_path / "tmp")

    assert (mode(tmp_path / "here"), mode(tmp_path / "tmp")) == (0o755, 0o1777)


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_unusable_folder_is_rejected(tmp_path: Path, name: str) -> None:
    """A data folder that is a file, or below one, is rejected by name."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match=r"The data folder .*file.* cannot be used \("):
        make_private_folder(tmp_path / name)


@pytest.mark.anyio
async def test_folder_as_database_is_rejected(tmp_path: Path) -> None:
    """A DATABASE_URL that names a folder is rejected."""
    database = Database(f"sqlite:///{tmp_path}")
    with pytest.raises(ConfigurationError, match="which is a folder"):
        await database.open()
    await database.close()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "is a folder"),
        (b"\x80\xff\x00" * 20, "is not text"),
        (b"short\n", "5 characters, fewer than 16"),
        (b"", "0"),
    ],
)
def test_unusable_secret_file_is_rejected(tmp_path: Path, content: bytes | None, said: str) -> None:
    """A folder, a binary file, and a file with too short a secret are rejected by name."""
    path = tmp_path / "secret"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError) as error:
        read_secret(path)

    assert str(path) in str(error.value)
    assert said in str(error.value)


def test_serving_record_is_private(tmp_path: Path) -> None:
    """The record of a running service in the data folder is private; without the folder there is none."""
    configured = settings(tmp_path)
    save(configured, ServingRecord("http://127.0.0.1:8700", "http://127.0.0.1:8701/v1"))
    (tmp_path / "file").write_text("")
    unusable = settings(tmp_path, data_dir=tmp_path / "file")
    save(unusable, ServingRecord("http://127.0.0.1:8700", "http://127.0.0.1:8701/v1"))

    assert mode(configured.data_dir) == 0o700
    assert [mode(path) for path in configured.data_dir.iterdir()] == [0o600]
    assert load(unusable) is None
