"""Tests of `mappings`, in this process: a new one starts slowly."""

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from prosperstack_destination.account_mapping import dump_catalog
from prosperstack_destination.cli import app
from prosperstack_destination.cli.session import write
from prosperstack_destination.mapping.catalog import Catalog, Property, PropertyType
from prosperstack_destination.store import accounts
from support.accounts import open_account
from support.intake import identify, take

CATALOG = Catalog([Property("plan", "Plan", PropertyType.TEXT), Property("seats", "Seats", PropertyType.NUMBER)])
FILE = "# what we want\nrules:\n  - property: plan   # the tier\n    from: traits.tier\n"

Run = Callable[..., str]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Function that runs a command in a folder with a database, and returns its output or its error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    monkeypatch.setenv("PROSPERSTACK_BASE_URL", "http://127.0.0.1:9/v1")  # nothing answers there
    write(open_account)
    write(lambda connection: accounts.set_catalog(connection, "acct_1", dump_catalog(CATALOG), 0))
    write(lambda connection: take(connection, identify("a@x.y", plan="old", tier="new")))
    Path("mapping.yaml").write_text(FILE)

    def invoke(*words: str) -> str:
        result = CliRunner().invoke(app, ["mappings", *words], env={"COLUMNS": "200"})
        return result.output if result.exception is None else str(result.exception)

    return invoke


def test_mapping_is_applied_and_rolled_back(run: Run) -> None:
    """A file is validated, compared, applied, shown unchanged, and rolled back."""
    assert run("validate", "mapping.yaml") == "mapping.yaml is valid: 1 rule.\n"
    assert "1 of 1 profiles would change" in (compared := run("diff", "mapping.yaml"))
    assert all(word in compared for word in ("a@x.y", "old", "new", "2 requests", "90 a minute"))
    assert "Version 1 is applied" in run("apply", "mapping.yaml", "--author", "ann")
    assert "Nothing to apply" in run("apply", "mapping.yaml")
    assert run("show").endswith(FILE)
    assert "0 of 1 profiles would change" in run("diff", "mapping.yaml")
    assert "Version 2 is applied" in run("rollback", "--author", "bob")
    shown = run("history")
    assert all(word in shown for word in ("ann", "bob", "back to version 0", "0 of 1 profiles are compared"))
    assert run("show", "--version", "1").endswith(FILE)
    assert "There is no version 9" in run("show", "--version", "9")


def test_faults_are_reported(run: Run) -> None:
    """Faults have file, line and column. Rules for unknown properties are rejected unless allowed."""
    Path("wrong.yaml").write_text("rules:\n  - property: plam\n    from: traits.tier\n")
    Path("worse.yaml").write_text("rules:\n  - property: plan\n    form: traits.tier\n")
    unknown = "wrong.yaml:2:5: rules[0].property: the account has no subscriber property 'plam': did you mean plan?"

    assert unknown in run("validate", "wrong.yaml")
    assert unknown in (refused := run("apply", "wrong.yaml"))
    assert "--allow-unknown" in refused
    assert "worse.yaml:3:5: rules[0].form: there is no key 'form' here" in run("diff", "worse.yaml")
    assert "Its rule applies once the property exists" in run("apply", "wrong.yaml", "--allow-unknown")
    assert "cannot be read" in run("validate", "nowhere.yaml")


def test_newer_version_is_a_conflict(run: Run) -> None:
    """A file that is based on an older version is rejected, with the newer one in the message."""
    run("apply", "mapping.yaml", "--author", "ann", "--based-on", "0")
    Path("other.yaml").write_text("based_on: 0\nrules: []\n")

    assert "Version 1 is in force, applied by ann" in run("apply", "other.yaml", "--author", "bob")
    assert "It replaces version 1, applied by ann" in run("apply", "other.yaml", "--based-on", "1")


def test_empty_mapping_is_shown_as_file(run: Run) -> None:
    """Before the first mapping, `show` prints an empty one; `schema` prints the JSON Schema."""
    assert run("show").endswith("rules: []\n")
    assert '"forgiving_names"' in run("schema")


def test_increase_of_problems_needs_confirmation(run: Run) -> None:
    """A file that increases problems is applied after a confirmation; `diff` shows values that stay."""
    Path("worse.yaml").write_text("rules:\n  - property: plan\n    trait: tier\n    values: {pro: x}\n")

    compared = run("diff", "worse.yaml")

    assert "Problems: 0 before, 1 after." in compared
    assert "unchanged: no value" in compared
    assert "problems rise from 0 to 1" in (refused := run("apply", "worse.yaml"))
    assert "--yes" in refused
    assert "Version 1 is applied" in run("apply", "worse.yaml", "--yes")
