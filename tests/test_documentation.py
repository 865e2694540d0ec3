"""What is said of the project is true."""

from pathlib import Path

import pytest
from typer.main import get_command

from prosperstack_destination.cli import app
from prosperstack_destination.mapping.mapping_file import read_mapping
from prosperstack_destination.settings import Settings

ROOT = Path(__file__).parents[1]
SETTINGS = [name.upper() for name in Settings.model_fields]


@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting_is_documented(name: str) -> None:
    """A setting stands in the README's table and in .env.example."""
    assert f"`{name}`" in (ROOT / "README.md").read_text()
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
    """A command stands in the README."""
    readme = (ROOT / "README.md").read_text()
    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined] # it is a group
        for full_name in [f"{name} {sub}" for sub in getattr(command, "commands", {})] or [name]:
            assert f"prosperstack-destination {full_name}" in readme


def test_the_documented_mapping_is_one() -> None:
    """The mapping file of the README can be applied as it stands."""
    _, _, rest = (ROOT / "README.md").read_text().partition("```yaml\n")

    assert len(read_mapping(rest.partition("```")[0]).rules) == 4
