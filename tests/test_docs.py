"""What the pages under docs/ say is so: the reference, the table of imports, every command that is shown."""

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tools import api_reference
from typer.main import get_command

from prosperstack_destination.cli import app
from support.processes import environment, free_port, started
from test_imports import MAY_IMPORT

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
COMMAND = "prosperstack-destination"
#: Blocks of the README that are run elsewhere, by how they begin, and where.
ELSEWHERE = {
    "make run": "test_commands.py starts what it starts",
    "docker build": "tests/packaging runs the steps of the image",
    'echo "POSTGRES_PASSWORD': "tests/packaging starts the same processes",
    "curl -s -H": "tests/api asks the API with a token",
    "make lint": "CI runs these",
}


def blocks(page: Path, language: str = "sh") -> Iterator[str]:
    """The code blocks of a page, also those that are indented."""
    fenced = re.compile(rf"^( *)```{language}\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
    for indent, block in fenced.findall(page.read_text()):
        yield re.sub(rf"^{indent}", "", block, flags=re.MULTILINE)


def shown_commands() -> list[tuple[str, str]]:
    """Every line of a block that runs a command of ours, with its page."""
    return [
        (page.name, line.removeprefix(".venv/bin/"))
        for page in PAGES
        for block in blocks(page)
        for line in block.splitlines()
        if line.removeprefix(".venv/bin/").startswith(COMMAND)
    ]


@pytest.mark.parametrize(("page", "line"), shown_commands())
def test_every_command_that_is_shown_exists(page: str, line: str) -> None:
    """A command in a page has the name, the arguments and the options that it is shown with."""
    command: Any = get_command(app)
    _, *words = shlex.split(line, comments=True)
    while hasattr(command, "commands"):
        word = words.pop(0)
        assert word in command.commands, f"{page}: there is no command {word}"
        command = command.commands[word]
    command.make_context(command.name, words)  # raises for what it does not take


def test_the_api_reference_is_current() -> None:
    """docs/api.md is what `make docs` writes."""
    assert api_reference.PAGE.read_text() == api_reference.current(), "run make docs"


def test_the_table_of_imports_is_current() -> None:
    """The architecture's table of who may import whom is the one that modules are held to."""
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", (ROOT / "docs" / "architecture.md").read_text(), re.MULTILINE)
    table = {part: set(re.findall(r"`(\w+)`", allowed)) for part, allowed in rows}  # the page's last table counts

    assert {part: table.get(part) for part in MAY_IMPORT} == MAY_IMPORT


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """A link from one page to another, or to a heading, finds it."""
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text()):
        path, _, heading = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name}: {target}"
        if heading:
            headings = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}
            assert heading in slugs, f"{page.name}: {target}"


@pytest.mark.whole
def test_the_readmes_blocks_run(tmp_path: Path) -> None:
    """Pasted in their order, the README's blocks do what they are there for, on a fresh start."""
    port, sandbox_port = free_port(), free_port()
    serve = ["serve", "--port", str(port), "--with-sandbox", "--sandbox-port", str(sandbox_port)]
    binaries = Path(sys.executable).parent
    where = f"--to http://127.0.0.1:{port}/identify --prosperstack-url http://127.0.0.1:{sandbox_port}/v1"
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "bin").symlink_to(binaries)
    for name, text in _files():
        (tmp_path / name).write_text(text)
    with started(serve, f"http://127.0.0.1:{port}/readyz", tmp_path, tmp_path / "serve.log"):
        for block in blocks(ROOT / "README.md"):
            if any(block.startswith(begin) for begin in ELSEWHERE):
                continue
            script = block.replace("127.0.0.1:8700", f"127.0.0.1:{port}").replace("curl -s", "curl -sf")
            script = script.replace(f"{COMMAND} send", f"{COMMAND} send {where}")
            result = subprocess.run(  # noqa: S603 -- our own README
                [shutil.which("bash") or "bash", "-euo", "pipefail", "-c", script],
                cwd=tmp_path,
                env={**environment(), "PATH": f"{binaries}:{environment()['PATH']}"},
                capture_output=True,
                text=True,
                check=False,
            )
            assert result.returncode == 0, f"{block}\n{result.stdout}{result.stderr}"
    for begin in ELSEWHERE:
        assert any(block.startswith(begin) for block in blocks(ROOT / "README.md")), f"no block begins with {begin}"


def _files() -> Iterator[tuple[str, str]]:
    """The files that the README shows, by the name that stands in their first line."""
    for block in blocks(ROOT / "README.md", "yaml"):
        name = block.splitlines()[0].removeprefix("# ")
        assert name.endswith(".yaml"), "a block of YAML begins with the name of its file"
        yield name, block
