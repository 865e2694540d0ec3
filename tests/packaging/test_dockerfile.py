"""Tests of the Dockerfile."""

import json
import re
import shlex
import subprocess
import sysconfig
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from prosperstack_destination.settings import Settings

ROOT = Path(__file__).parents[2]

Stages = list[list[tuple[str, str]]]
Final = dict[str, list[str]]


def variables(text: str) -> dict[str, str]:
    """Return the variables of an ENV instruction."""
    return dict(pair.split("=", 1) for pair in shlex.split(text) if "=" in pair)


def test_hadolint_reports_nothing() -> None:
    """hadolint reports no violation."""
    hadolint = Path(sysconfig.get_path("scripts")) / "hadolint"
    result = subprocess.run(  # noqa: S603 -- a pinned tool of the project
        [hadolint, "--no-color", ROOT / "Dockerfile"], capture_output=True, text=True, check=False
    )

    assert (result.returncode, result.stdout) == (0, "")


def test_stages_have_one_base(stages: Stages) -> None:
    """Both stages have one base, so that the virtual environment finds its interpreter."""
    bases = {stage[0][1].split()[0] for stage in stages}

    assert len(stages) == 2
    assert bases == {"python:${PYTHON_VERSION}-slim"}
    assert re.search(r"^ARG PYTHON_VERSION=3\.\d+(\.\d+)?$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)


def test_user_is_not_root(final: Final) -> None:
    """The image's user is a numeric ID that is not root's, which orchestrators can check."""
    assert final["USER"] == ["10001:10001"]


def test_command_is_serve(final: Final) -> None:
    """The image runs the project's command, with `serve` by default."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert json.loads(final["ENTRYPOINT"][0]) == list(project["scripts"])
    assert json.loads(final["CMD"][0]) == ["serve"]
    assert final["STOPSIGNAL"] == ["SIGTERM"]
    assert len(final["HEALTHCHECK"]) == 1


def test_settings_agree_with_volume_and_port(final: Final) -> None:
    """The image's settings are valid, and agree with its volume and its port."""
    given = {name: value for text in final["ENV"] for name, value in variables(text).items()}
    settings = {name.lower(): value for name, value in given.items() if name.lower() in Settings.model_fields}
    read = Settings(_env_file=None, **settings)  # type: ignore[arg-type] # texts, as an environment has them

    assert given.keys() - {name.upper() for name in settings} == {
        "PATH",
        "PYTHONDONTWRITEBYTECODE",
        "PYTHONUNBUFFERED",
        "TMPDIR",
    }
    assert [str(read.data_dir)] == [given["TMPDIR"]] == final["VOLUME"]
    assert [str(read.port)] == final["EXPOSE"]
    assert read.host == "0.0.0.0"  # noqa: S104 -- a container's own network


def test_image_has_no_secrets(stages: Stages) -> None:
    """No build argument and no variable holds a secret."""
    given = [text for stage in stages for name, text in stage if name in ("ARG", "ENV")]

    assert not re.search(r"KEY|SECRET|PASSWORD|TOKEN|CREDENTIAL", " ".join(given), re.IGNORECASE)


def test_installed_packages_are_pinned(stages: Stages) -> None:
    """pip installs packages with hashes from a lock, or wheels built here without dependencies."""
    commands = [part for stage in stages for name, text in stage if name == "RUN" for part in text.split("&&")]
    installing = [command for command in commands if re.search(r"\bpip\b.* (install|wheel)\b", command)]

    assert len(installing) == 4
    for command in installing:
        assert "--require-hashes -r requirements" in command or "--no-deps" in command
        assert "--no-build-isolation" in command or " wheel " not in command


def test_copied_files_are_in_the_context(stages: Stages, context: Path) -> None:
    """Every copied file is in the build context."""
    copied = [text.split()[:-1] for name, text in stages[0] if name == "COPY"]

    assert copied
    for source in [source for sources in copied for source in sources]:
        assert (context / source).exists(), source


def test_context_has_only_copied_files(stages: Stages, context: Path) -> None:
    """Every file of the build context is copied."""
    copied = {source for name, text in stages[0] if name == "COPY" for source in text.split()[:-1]}

    assert {path.name for path in context.iterdir()} == copied


@pytest.mark.parametrize(
    "path",
    [
        ".env",
        ".git/config",
        ".venv/bin/python",
        "data/destination.db",
        "data/secret.key",
        "src/.env",
        "src/prosperstack_destination/__pycache__/errors.cpython-311.pyc",
        "tests/conftest.py",
    ],
)
def test_private_files_are_ignored(lets_through: Callable[[str], bool], path: str) -> None:
    """Secrets, data, history and local files are not in the build context."""
    assert not lets_through(path)
