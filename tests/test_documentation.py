"""Settings, commands, metrics and mappings in the documents are those of the code."""

import re
from pathlib import Path

import pytest

from prosperstack_destination.cli import COMMANDS, LazyCommand
from prosperstack_destination.mapping.mapping_file import read_mapping
from prosperstack_destination.mapping.transforms import Transform
from prosperstack_destination.observability.metrics import Metrics
from prosperstack_destination.settings import Settings

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "docs" / "reference"
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/**/*.md")])
SETTINGS = [name.upper() for name in Settings.model_fields]


@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting_is_documented(name: str) -> None:
    """A setting is in the reference's table and in .env.example."""
    rows = re.findall(r"^\| (`.*?) \|", (REFERENCE / "settings.md").read_text(), re.MULTILINE)

    assert f"`{name}`" in ", ".join(rows)
    assert f"\n{name}=" in (ROOT / ".env.example").read_text()


def test_the_example_names_no_other_settings() -> None:
    """Nothing in .env.example is without effect."""
    lines = (ROOT / ".env.example").read_text().splitlines()

    assert {line.partition("=")[0] for line in lines if line and not line.startswith("#")} == set(SETTINGS)


def test_the_example_has_the_defaults(tmp_path: Path) -> None:
    """Copied as it is, .env.example changes nothing."""
    copied = tmp_path / ".env"
    copied.write_text((ROOT / ".env.example").read_text())

    assert Settings(_env_file=copied).model_dump() == Settings(_env_file=None).model_dump()


def test_every_command_is_documented() -> None:
    """A command is in the reference."""
    page = (REFERENCE / "commands.md").read_text()
    for name, module, help_line in COMMANDS:
        command = LazyCommand(name, module, help_line).load()
        for full_name in [f"{name} {sub}" for sub in getattr(command, "commands", {})] or [name]:
            assert f"| `prosperstack-destination {full_name}" in page


def test_every_metric_is_documented() -> None:
    """The reference names every metric, and no other one."""
    _, _, table = (REFERENCE / "metrics.md").read_text().partition("| metric |")
    named = {
        name for cell in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", cell)
    }
    helped = set(re.findall(r"# HELP prosperstack_destination_(\S+)", Metrics().render().decode()))

    assert {each for each in named if each.islower()} == {each for each in helped if not each.endswith("_created")}


def test_every_transform_is_documented() -> None:
    """The reference of the mapping file names every transform."""
    page = (REFERENCE / "mapping-file.md").read_text()

    assert [name for name in Transform.model_fields if f"`{name}:" not in page] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_documented_mappings_can_be_applied(page: Path) -> None:
    """Every mapping file that a page shows has no fault."""
    shown = [text for text in re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL) if "rules:" in text]

    assert all(read_mapping(each).rules for each in shown)


def test_documented_environments_name_settings() -> None:
    """A block of settings in a page names none that does not exist."""
    named = [
        line.partition("=")[0]
        for page in PAGES
        for block in re.findall(r"```ini\n(.*?)```", page.read_text(), re.DOTALL)
        for line in block.splitlines()
    ]

    assert set(named) <= set(SETTINGS)
    assert named
