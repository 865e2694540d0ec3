"""Tests of `tokens`."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from prosperstack_destination.cli import app


def test_token_is_issued_listed_and_revoked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token is printed once, listed by fingerprint and name, and revoked once."""
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    run = CliRunner(env={"COLUMNS": "200"}).invoke
    token = run(app, ["tokens", "issue", "--name", "ann"]).output.strip()
    listed = run(app, ["tokens", "list"]).output
    fingerprint = next(word for word in listed.split() if len(word) == len("9f86d081") and word.isalnum())

    assert token.startswith("pso_")
    assert "ann" in listed
    assert token not in listed
    assert run(app, ["tokens", "revoke", fingerprint]).exception is None
    assert "no valid token" in str(run(app, ["tokens", "revoke", fingerprint]).exception)
    assert "needs a name" in str(run(app, ["tokens", "issue", "--name", " "]).exception)
