"""The README and the pages under docs/ are true: the reference, the tables, every command and block."""

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

from prosperstack_destination.cli import LazyCommand, app
from support.processes import environment, free_port, started
from test_imports import MAY_IMPORT

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
COMMAND = "prosperstack-destination"
DOCS = ROOT / "docs"
ARCHITECTURE = DOCS / "explanation" / "architecture.md"
SOURCE = ROOT / "src" / "prosperstack_destination"
#: Pages whose blocks a reader pastes in their order, on one service with a sandbox.
PASTED = [
    ROOT / "README.md",
    DOCS / "reference" / "mapping-file.md",
    DOCS / "reference" / "calls.md",
    DOCS / "how-to" / "use-segment-sdks.md",
]
#: Blocks of these pages that other tests run, by their beginning, and where.
ELSEWHERE = {
    "make run": "test_commands.py starts what it starts",
    f".venv/bin/{COMMAND} serve": "this test starts the service; tests/cli runs doctor",
    "docker build": "tests/packaging runs the steps of the image",
    'echo "POSTGRES_PASSWORD': "tests/packaging starts the same processes",
}
#: The walks of the architecture may have this many files.
WALK = 15


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
        command = command.load() if isinstance(command, LazyCommand) else command
    command.make_context(command.name, words)  # raises for what it does not take


def test_the_api_reference_is_current() -> None:
    """docs/reference/api.md is what `make docs` writes."""
    assert api_reference.PAGE.read_text() == api_reference.current(), "run make docs"


def test_the_table_of_imports_is_current() -> None:
    """The architecture's table of who may import whom is the one that modules are held to."""
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", ARCHITECTURE.read_text(), re.MULTILINE)
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


@pytest.mark.parametrize("walk", ["Walk 1: receive a call", "Walk 2: deliver a change"])
def test_a_walk_names_files_of_the_code(walk: str) -> None:
    """Each file of a walk is there, and a walk is short enough to be read."""
    _, _, rest = ARCHITECTURE.read_text().partition(f"## {walk}\n")
    files = re.findall(r"^\| `([\w/]+\.py)` \|", rest.partition("\n## ")[0], re.MULTILINE)

    assert [each for each in files if not (SOURCE / each).is_file()] == []
    assert 10 <= len(files) <= WALK


def test_paths_in_the_architecture_exist() -> None:
    """A file or folder of the code that the architecture names is there, below the package or the project."""
    named = re.findall(r"`([\w]+(?:/[\w.]+)+)`", ARCHITECTURE.read_text())

    assert [each for each in named if not ((SOURCE / each).exists() or (ROOT / each).exists())] == []


def test_the_readme_is_short() -> None:
    """The README leads to the documents, and does not contain them."""
    assert len((ROOT / "README.md").read_text().splitlines()) <= 170


@pytest.mark.whole
def test_the_site_builds(tmp_path: Path) -> None:
    """mkdocs builds the site without a warning, with every page in its navigation, and nothing from other hosts."""
    built = subprocess.run(  # noqa: S603 -- our own configuration
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path / "site"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    page = (tmp_path / "site" / "reference" / "settings.html").read_text()
    loaded = re.findall(r"<(?:script|img|source)[^>]* src=[\"']?(https?:[^\"'> ]+)", page)
    loaded += re.findall(r"<link[^>]* rel=[\"']?(?:stylesheet|preconnect)[^>]* href=[\"']?(https?:[^\"'> ]+)", page)

    assert loaded == []


@pytest.mark.whole
def test_pasted_blocks_run(tmp_path: Path) -> None:
    """Pasted in their order on a fresh start, the blocks of the README and of three pages succeed."""
    port, sandbox_port = free_port(), free_port()
    serve = ["serve", "--port", str(port), "--with-sandbox", "--sandbox-port", str(sandbox_port)]
    binaries = Path(sys.executable).parent
    where = f"--to http://127.0.0.1:{port}/identify --prosperstack-url http://127.0.0.1:{sandbox_port}/v1"
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "bin").symlink_to(binaries)
    with started(serve, f"http://127.0.0.1:{port}/readyz", tmp_path, tmp_path / "serve.log"):
        for page in PASTED:
            for name, text in _files(page):
                (tmp_path / name).write_text(text)
            for block in blocks(page):
                if any(block.startswith(begin) for begin in ELSEWHERE):
                    continue
                script = block.replace("127.0.0.1:8700", f"127.0.0.1:{port}").replace("curl -s", "curl -sf")
                _run(page, script.replace(f"{COMMAND} send", f"{COMMAND} send {where}"), tmp_path, binaries)


def test_blocks_that_run_elsewhere_are_there() -> None:
    """Each block that another test runs is in the README."""
    for begin in ELSEWHERE:
        assert any(block.startswith(begin) for block in blocks(ROOT / "README.md")), f"no block begins with {begin}"


def _run(page: Path, script: str, folder: Path, binaries: Path) -> None:
    result = subprocess.run(  # noqa: S603 -- our own pages
        [shutil.which("bash") or "bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env={**environment(), "PATH": f"{binaries}:{environment()['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, f"{page.name}: {script}\n{result.stdout}{result.stderr}"


def _files(page: Path) -> Iterator[tuple[str, str]]:
    """Yield the files that a page shows, by the name in their first line."""
    for block in blocks(page, "yaml"):
        name = block.splitlines()[0].removeprefix("# ")
        assert name.endswith(".yaml"), "a block of YAML begins with the name of its file"
        yield name, block
