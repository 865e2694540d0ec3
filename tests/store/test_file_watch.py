"""Deletion, move or replacement of the database's file at run time."""

import shutil
from pathlib import Path

import pytest

from prosperstack_destination.errors import StoreUnavailable
from prosperstack_destination.store import accounts
from prosperstack_destination.store.database import Database
from support.accounts import open_account

pytestmark = pytest.mark.anyio


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """File of the fixture ``sqlite``."""
    return tmp_path / "test.db"


def _move(path: Path, to: Path) -> None:
    to.parent.mkdir(exist_ok=True)
    path.replace(to)


def _content(path: Path) -> bytes | None:
    """Return the file's content; None if it is missing."""
    return path.read_bytes() if path.exists() else None


def _damage(path: Path, keep: int) -> None:
    """Overwrite a file except for its first bytes."""
    content = path.read_bytes()
    path.write_bytes(content[:keep] + b"\xff" * (len(content) - keep))


async def _refused(database: Database) -> str:
    """Return the reason why the database refuses transactions."""
    reasons = []
    for unit in (
        database.write(open_account, "acct_2"),
        database.read(accounts.all_accounts),
        database.read_inline(accounts.all_accounts),
    ):
        with pytest.raises(StoreUnavailable) as caught:
            await unit
        reasons.append(str(caught.value))
    assert len(set(reasons)) == 1
    return reasons[0]


@pytest.mark.parametrize("elsewhere", ["moved.db", "folder/moved.db"])
async def test_moved_file_is_used_again_after_its_return(sqlite: Database, path: Path, elsewhere: str) -> None:
    """Without its file the database refuses transactions and creates no new file; with it, it continues."""
    await sqlite.write(open_account, "acct_1")
    _move(path, path.parent / elsewhere)

    assert "test.db was deleted or moved" in await _refused(sqlite)
    assert _content(path) is None

    _move(path.parent / elsewhere, path)
    await sqlite.write(open_account, "acct_3")
    assert [each.id for each in await sqlite.read(accounts.all_accounts)] == ["acct_1", "acct_3"]


async def test_replaced_file_is_not_used(sqlite: Database, path: Path) -> None:
    """A file that replaced the opened one, as a restored backup, is not written to before a restart."""
    await sqlite.write(open_account, "acct_1")
    backup = path.with_name("backup.db")
    shutil.copy(path, backup)
    before = _content(backup)
    _move(backup, path)

    assert "test.db was replaced" in await _refused(sqlite)
    assert _content(path) == before


async def test_deleted_log_is_noticed(sqlite: Database, path: Path) -> None:
    """Commits are in the log: without its file none is accepted."""
    await sqlite.write(open_account, "acct_1")
    path.with_name("test.db-wal").unlink()

    with pytest.raises(StoreUnavailable, match=r"test\.db-wal was deleted"):
        await sqlite.write(open_account, "acct_2")


async def test_file_deleted_during_a_transaction_is_noticed(sqlite: Database, path: Path) -> None:
    """A commit into a file without a name is not accepted."""

    def write_and_delete(connection: object) -> None:
        open_account(connection, "acct_1")  # type: ignore[arg-type] # it is a connection
        path.unlink()

    with pytest.raises(StoreUnavailable, match=r"test\.db was deleted"):
        await sqlite.write(write_and_delete)


async def test_damaged_file_is_an_outage(sqlite: Database, path: Path) -> None:
    """A file that is no database counts as an outage, and not as a bug of the transaction."""
    await sqlite.write(open_account, "acct_1")
    await sqlite.close()
    _damage(path, keep=0)
    damaged = Database(f"sqlite:///{path}")

    with pytest.raises(StoreUnavailable, match="not a database"):
        await damaged.write(open_account, "acct_2")
    with pytest.raises(StoreUnavailable, match="not a database"):
        await damaged.read(accounts.all_accounts)
    await damaged.close()


async def test_damaged_pages_are_an_outage(sqlite: Database, path: Path) -> None:
    """Overwritten pages count as an outage."""
    await sqlite.write(open_account, "acct_1")
    await sqlite.close()
    _damage(path, keep=4096)
    damaged = Database(f"sqlite:///{path}")

    with pytest.raises(StoreUnavailable, match="malformed"):
        await damaged.write(open_account, "acct_2")
    await damaged.close()
