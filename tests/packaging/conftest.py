"""Fixtures of the Dockerfile and the build context, as an engine reads them."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def stages() -> list[list[tuple[str, str]]]:
    """Instructions of the Dockerfile, name and text, by stage, without those before the first stage."""
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.lstrip().startswith("#")]
    instructions = re.findall(r"^([A-Z]+)\s+(.*)$", "\n".join(lines).replace("\\\n", " "), re.MULTILINE)
    begins = [place for place, (name, _) in enumerate(instructions) if name == "FROM"]
    return [instructions[begin:end] for begin, end in zip(begins, [*begins[1:], None], strict=True)]


@pytest.fixture(scope="session")
def final(stages: list[list[tuple[str, str]]]) -> dict[str, list[str]]:
    """Texts of the last stage's instructions, by name. They define the image."""
    texts: dict[str, list[str]] = {}
    for name, text in stages[-1]:
        texts.setdefault(name, []).append(text)
    return texts


@pytest.fixture(scope="session")
def lets_through() -> Callable[[str], bool]:
    """Function that returns True if .dockerignore passes a path. The last matching pattern decides."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [(not line.startswith("!"), _pattern(line.lstrip("!"))) for line in lines if line and line[0] != "#"]

    def decide(path: str) -> bool:
        ignored = False
        for ignores, pattern in rules:
            if pattern.fullmatch(path):
                ignored = ignores
        return not ignored

    return decide


def _pattern(text: str) -> re.Pattern[str]:
    parts = {"**/": "(?:.*/)?", "*": "[^/]*"}
    expression = "".join(parts.get(part, re.escape(part)) for part in re.split(r"(\*\*/|\*)", text))
    return re.compile(f"{expression}(?:/.*)?")


@pytest.fixture(scope="session")
def context(lets_through: Callable[[str], bool], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the files of the build context."""
    folder = tmp_path_factory.mktemp("context")
    # No pattern passes a path below an ignored folder.
    for top in [path for path in ROOT.iterdir() if lets_through(path.name)]:
        for path in [path for path in [top, *top.rglob("*")] if path.is_file()]:
            inside = path.relative_to(ROOT)
            if lets_through(inside.as_posix()):
                (folder / inside).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, folder / inside)
    return folder
