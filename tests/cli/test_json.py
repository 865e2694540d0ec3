"""Tests of the JSON output of commands."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update
from typer.main import get_command
from typer.testing import CliRunner

from cli.conftest import Commands
from prosperstack_destination.cli import LazyCommand, app
from prosperstack_destination.store import accounts
from prosperstack_destination.store.tables import profiles
from support.intake import identify, take

#: Commands that print only a log, until they are stopped.
RUNNING = {"serve", "sandbox"}
MAPPING = "rules:\n  - property: preferred_name\n    from: traits.nickname\n"
ANN = "ann@example.com"


def every_command(command: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every command that is not a group, with its full name."""
    for word, listed in getattr(command, "commands", {}).items():
        full = f"{name} {word}".strip()
        each = listed.load() if isinstance(listed, LazyCommand) else listed
        if hasattr(each, "commands"):
            yield from every_command(each, full)
        else:
            yield full, each


COMMANDS = dict(every_command(get_command(app)))


@pytest.mark.parametrize("name", sorted(COMMANDS.keys() - RUNNING))
def test_every_command_has_json_output(name: str) -> None:
    """Every command with output has the option --json."""
    assert any("--json" in each.opts for each in COMMANDS[name].params)


@pytest.fixture
def file(commands: Commands) -> str:
    """Write a mapping file, and ingest a call with the trait that it maps."""
    commands.write(take, identify(ANN, account=commands.account_id, nickname="Ann", preferred_name="A"))
    path = commands.folder.parent / "mapping.yaml"
    path.write_text(MAPPING)
    return str(path)


def test_mappings(commands: Commands, file: str) -> None:
    """The mapping commands print their results as JSON."""
    checked = commands.json("mappings", "validate", file)
    compared = commands.json("mappings", "diff", file)
    applied = commands.json("mappings", "apply", file, "--author", "ann")
    again = commands.json("mappings", "apply", file)
    shown = commands.json("mappings", "show")
    back = commands.json("mappings", "rollback", "--author", "bob")
    history = commands.json("mappings", "history")

    assert checked == {"rules": 1, "faults": []}
    assert (compared["profiles"], compared["changed"], compared["by_property"]) == (1, 1, {"preferred_name": 1})
    assert compared["examples"] == [
        {"email": ANN, "before": {"preferred_name": "A"}, "after": {"preferred_name": "Ann"}}
    ]
    assert (compared["requests"], compared["requests_per_minute"]) == (2, 90)
    assert applied["account"] == commands.account_id
    assert (applied["version"], applied["replaced"], applied["changed"], applied["profiles"]) == (1, 0, True, 1)
    assert (again["version"], again["replaced"], again["changed"]) == (1, 1, False)
    assert (shown["version"], shown["author"], shown["yaml"]) == (1, "ann", MAPPING)
    assert shown["mapping"]["rules"][0]["property"] == "preferred_name"
    assert (back["version"], back["author"], back["note"]) == (2, "bob", "back to version 0")
    assert [each["version"] for each in history["versions"]] == [2, 1]
    assert history["versions"][0]["applied_at"].endswith("+00:00")
    assert history["progress"] == {"total": 1, "done": 0}
    assert "rules" in commands.json("mappings", "schema")["properties"]


def test_mapping_is_empty_at_first(commands: Commands) -> None:
    """Before the first mapping there is an empty one of version 0, and no history."""
    shown = commands.json("mappings", "show")

    assert (shown["version"], shown["applied_at"], shown["mapping"]) == (0, None, {"rules": []})
    assert commands.json("mappings", "history") == {"versions": [], "progress": None}


@pytest.mark.parametrize(
    ("text", "key", "line"),
    [
        ("rules:\n  - property: preferred_nam\n    from: traits.x\n", "rules[0].property", 2),
        ("rules:\n  - property: preferred_name\n    form: traits.x\n", "rules[0].form", 3),
    ],
)
def test_faults_have_places(commands: Commands, text: str, key: str, line: int) -> None:
    """A fault in a mapping has its line and column, and the command fails."""
    path = commands.folder.parent / "wrong.yaml"
    path.write_text(text)
    result = CliRunner().invoke(app, ["mappings", "validate", str(path), "--json"])
    [fault] = [each for each in json.loads(result.stdout)["faults"] if each["key"] == key]

    assert result.exit_code == 1
    assert (fault["line"], fault["column"]) == (line, 5)


def test_tokens(commands: Commands) -> None:
    """A token is printed once and listed by its fingerprint, also after it is revoked."""
    issued = commands.json("tokens", "issue", "--name", "ann")
    [listed] = commands.json("tokens", "list")
    revoked = commands.json("tokens", "revoke", issued["fingerprint"])

    assert issued["token"].startswith("pso_")
    assert (listed["token"], listed["name"], listed["revoked"]) == (issued["fingerprint"], "ann", None)
    assert revoked == {"revoked": issued["fingerprint"]}
    assert commands.json("tokens", "list")[0]["revoked"] is not None


def test_database_commands_print_counts(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    """Export, import, backup and upgrade print counts, file and version."""
    folder = commands.folder.parent
    version = commands.json("db", "upgrade")["version"]
    exported = commands.json("db", "export", str(folder / "all.jsonl"))
    whole = commands.json("db", "export", str(folder / "all.jsonl"))
    lines = CliRunner().invoke(app, ["db", "export", "-", "--json"])
    copied = commands.json("db", "backup", str(folder / "copy.db"))
    monkeypatch.setenv("DATA_DIR", str(folder / "elsewhere"))
    imported = commands.json("db", "import", str(folder / "all.jsonl"))

    assert version.isdigit()
    assert exported == whole == imported == json.loads(lines.stderr)
    assert exported["rows"]["accounts"] == 1
    assert json.loads(lines.stdout.splitlines()[0])
    assert copied == {"file": str(folder / "copy.db")}
    assert Path(copied["file"]).exists()


def test_send_reports_unreachable_service(commands: Commands) -> None:
    """Without a service, `send` prints the error as JSON and fails."""
    unreachable = "http://127.0.0.1:1"
    result = CliRunner().invoke(
        app,
        [
            "send",
            "--json",
            "--wait",
            "0",
            "--to",
            f"{unreachable}/identify",
            "--prosperstack-url",
            f"{unreachable}/v1",
        ],
    )
    [answer] = json.loads(result.stdout)["answers"]

    assert result.exit_code == 1
    assert (answer["status"], answer["calls"]) == (None, 1)
    assert "Start it with `serve`" in answer["message"]
    assert json.loads(result.stdout)["people"] == []
    assert commands.write(accounts.all_accounts)  # the database is unchanged


def test_values_of_earlier_versions_are_printed(commands: Commands) -> None:
    """NaN and times out of range, which earlier versions stored, are printed as valid JSON."""
    commands.write(take, identify(ANN, account=commands.account_id, logins=1))
    odd = '{"email": ["a", -62135596860000000], "logins": [Infinity, 1], "x": [[NaN], 9223372036854775807]}'
    commands.write(lambda connection: connection.execute(update(profiles).values(traits=odd)))
    found = json.loads(commands.run("profile", ANN, "--json"), parse_constant=pytest.fail)

    assert "0001-01-01" in json.dumps(found)
    assert "9999-12-31" in commands.run("profile", ANN)
