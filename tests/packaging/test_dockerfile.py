"""What the Dockerfile says."""

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
    """What an ENV instruction sets."""
    return dict(pair.split("=", 1) for pair in shlex.split(text) if "=" in pair)


def test_hadolint_has_nothing_to_say() -> None:
    """The Dockerfile keeps to the rules that hadolint knows."""
    hadolint = Path(sysconfig.get_path("scripts")) / "hadolint"
    result = subprocess.run(  # noqa: S603 -- a pinned tool of the project
        [hadolint, "--no-color", ROOT / "Dockerfile"], capture_output=True, text=True, check=False
    )

    assert (result.returncode, result.stdout) == (0, "")


def test_the_stages_have_one_base(stages: Stages) -> None:
    """The virtual environment finds in the image the interpreter that it was made with."""
    bases = {stage[0][1].split()[0] for stage in stages}

    assert len(stages) == 2
    assert bases == {"python:${PYTHON_VERSION}-slim"}
    assert re.search(r"^ARG PYTHON_VERSION=3\.\d+(\.\d+)?$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)


def test_the_user_has_no_rights(final: Final) -> None:
    """The image's user is a number that is not root's, so that an orchestrator can see it too."""
    assert final["USER"] == ["10001:10001"]


def test_the_command(final: Final) -> None:
    """The image runs the project's command, which serves where nothing else is asked."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert json.loads(final["ENTRYPOINT"][0]) == list(project["scripts"])
    assert json.loads(final["CMD"][0]) == ["serve"]
    assert final["STOPSIGNAL"] == ["SIGTERM"]
    assert len(final["HEALTHCHECK"]) == 1


def test_the_settings(final: Final) -> None:
    """The image's settings exist, are good, and agree with its volume and its port."""
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


def test_nothing_secret(stages: Stages) -> None:
    """No build argument and no variable holds a secret."""
    given = [text for stage in stages for name, text in stage if name in ("ARG", "ENV")]

    assert not re.search(r"KEY|SECRET|PASSWORD|TOKEN|CREDENTIAL", " ".join(given), re.IGNORECASE)


def test_everything_installed_is_pinned(stages: Stages) -> None:
    """pip installs what a lock has the hashes of, or what was built here and brings nothing along."""
    commands = [part for stage in stages for name, text in stage if name == "RUN" for part in text.split("&&")]
    installing = [command for command in commands if re.search(r"\bpip\b.* (install|wheel)\b", command)]

    assert len(installing) == 4
    for command in installing:
        assert "--require-hashes -r requirements" in command or "--no-deps" in command
        assert "--no-build-isolation" in command or " wheel " not in command


def test_the_build_gets_what_it_copies(stages: Stages, context: Path) -> None:
    """Every file that is copied into the build is let through to it."""
    copied = [text.split()[:-1] for name, text in stages[0] if name == "COPY"]

    assert copied
    for source in [source for sources in copied for source in sources]:
        assert (context / source).exists(), source


def test_the_build_gets_nothing_else(stages: Stages, context: Path) -> None:
    """What is let through to the build is copied into it."""
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
def test_what_is_private_stays_out(lets_through: Callable[[str], bool], path: str) -> None:
    """Secrets, data, history and leftovers of this machine never reach the build."""
    assert not lets_through(path)
