"""Tests of `db`."""

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import make_url

from prosperstack_destination.cli import database as db
from prosperstack_destination.errors import ConfigurationError, InvalidInput
from support.postgres import Databases


@pytest.fixture
def filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder with a SQLite database that has an account."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", "")
    db.upgrade()
    with closing(sqlite3.connect("data/destination.db")) as database:
        database.execute(
            "INSERT INTO accounts (id, key_hash, encrypted_key, fingerprint, live, status, created_at) "
            "VALUES ('acct_1', 'h', 'k', 'f', 1, 'active', 0)"
        )
        database.commit()
    return tmp_path


def accounts(path: str) -> list[str]:
    with closing(sqlite3.connect(path)) as database:
        return [row[0] for row in database.execute("SELECT id FROM accounts")]


def test_export_moves_data_between_engines(
    filled: Path, databases: Databases, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An export of SQLite is imported into PostgreSQL, and back."""
    db.export("there.jsonl")
    with databases.empty() as url:
        monkeypatch.setenv("DATABASE_URL", url)
        db.upgrade()
        db.import_("there.jsonl")
        db.export("back.jsonl")
        with pytest.raises(InvalidInput, match="pg_dump"):
            db.backup(Path("copy.db"))
    monkeypatch.setenv("DATABASE_URL", "sqlite:///second.db")
    db.import_("back.jsonl")

    assert accounts("second.db") == ["acct_1"]
    assert (filled / "there.jsonl").stat().st_mode & 0o077 == 0
    assert re.search(r"version \d{4}", capsys.readouterr().out)
    assert make_url(url).get_backend_name() == "postgresql"


def test_truncated_export_is_resumed(filled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A truncated export is repaired and resumed; a complete one is not changed."""
    db.export("whole.jsonl")
    text = (filled / "whole.jsonl").read_text()
    for cut in (5, len(text.splitlines()[0]) + 20):
        (filled / "cut.jsonl").write_text(text[:cut])
        db.export("cut.jsonl")
        assert (filled / "cut.jsonl").read_text().splitlines()[1:] == text.splitlines()[1:]
    db.export("whole.jsonl")

    assert (filled / "whole.jsonl").read_text() == text
    assert "complete already" in capsys.readouterr().err


def test_backup_has_all_data(filled: Path) -> None:
    """A backup has all data, and never overwrites a file."""
    with closing(sqlite3.connect("data/destination.db")) as busy:  # a concurrent writer
        busy.execute("BEGIN IMMEDIATE")
        db.backup(filled / "copy.db")

    assert accounts("copy.db") == ["acct_1"]
    assert sorted(path.name for path in filled.glob("copy*")) == ["copy.db"]
    with pytest.raises(InvalidInput, match="exists already"):
        db.backup(filled / "copy.db")


def test_missing_files_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unreadable file and a missing database are reported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", "")
    with pytest.raises(ConfigurationError, match="no database"):
        db.backup(Path("copy.db"))
    with pytest.raises(InvalidInput, match="cannot be read"):
        db.import_("nowhere.jsonl")
