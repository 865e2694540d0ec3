"""Measure the language and the layout of the project, and fail where a measure passes its limit.

`python -m tools.language` prints the measures; `--list` names each place. `docs/glossary.md` defines the terms.
"""

import ast
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
SOURCE: Final = ROOT / "src" / "prosperstack_destination"

#: A docstring that opens like this has no subject.
_NO_SUBJECT: Final = re.compile(
    r"(What|Whatever|Who|Whoever|Whom|Whose|Which|Where|How|Why|Whether|Have|Had|Those|That|Tell|Say|Somebody|Nobody|"
    r"Everybody|Everything|All that|The same)\b"
)
#: Words that readers have to decode.
_RIDDLES: Final = re.compile(
    r"\b(whoever|whomever|whatever|wherever|anew|beside|heed\w*|believed|stands|stood|told|deaf|stomach|ado|"
    r"somebody|nobody|anybody|everybody|by then|so many|whom|has the words)\b",
    re.IGNORECASE,
)
#: Lines that a module should have at most; `--list` names those above.
LONGEST_MODULE: Final = 400
#: The most that each measure may be. A limit only falls.
LIMITS: Final[dict[str, float]] = {
    "docstrings without a subject, %": 2.0,
    "riddling words per 100 docstrings": 1.0,
    "riddling words in documents and pages": 0,
    "modules": 275,
    "longest module, lines": 400,
    "lines of source": 43_600,
    "functions, 95th percentile of lines": 40,
    "class names that occur more than once": 5,
}

Place = tuple[Path, int, str]


def _documented(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the line and the text of every docstring of a module."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield node.body[0].lineno, text


def _function_lengths(path: Path) -> Iterator[int]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield (node.end_lineno or node.lineno) - node.lineno + 1


def _classes(path: Path) -> Iterator[str]:
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield node.name


def measure() -> tuple[dict[str, float], list[Place]]:
    """Return each measure by its name, and the places where the language is at fault."""
    modules = sorted(path for path in SOURCE.rglob("*.py") if "migrations/versions" not in path.as_posix())
    docstrings = [(path, line, text) for path in modules for line, text in _documented(path)]
    no_subject = [(path, line, text) for path, line, text in docstrings if _NO_SUBJECT.match(text)]
    riddles = [(path, line, word) for path, line, text in docstrings for word in _RIDDLES.findall(text)]
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *SOURCE.rglob("*.html")]
    page_riddles = [
        (path, number, word)
        for path in sorted(pages)
        for number, line in enumerate(path.read_text().splitlines(), 1)
        for word in _RIDDLES.findall(line)
    ]
    lengths = sorted(length for path in modules for length in _function_lengths(path))
    homonyms = [
        name for name, count in Counter(name for path in modules for name in _classes(path)).items() if count > 1
    ]
    lines = {path: len(path.read_text().splitlines()) for path in modules}
    measures = {
        "docstrings without a subject, %": round(100 * len(no_subject) / len(docstrings), 1),
        "riddling words per 100 docstrings": round(100 * len(riddles) / len(docstrings), 1),
        "riddling words in documents and pages": len(page_riddles),
        "modules": len(modules),
        "longest module, lines": max(lines.values()),
        "lines of source": sum(lines.values()),
        "functions, 95th percentile of lines": lengths[int(0.95 * len(lengths))],
        "class names that occur more than once": len(homonyms),
    }
    places = [*no_subject, *riddles, *page_riddles]
    places += [
        (path, 1, f"{count} lines") for path, count in lines.items() if count > LIMITS["longest module, lines"]
    ]
    places += [(SOURCE, 0, f"class {name}") for name in sorted(homonyms)]
    return measures, places


def main() -> int:
    """Print every measure beside its limit; return 1 where one is above it."""
    measures, places = measure()
    for name, value in measures.items():
        mark = "  TOO MUCH" if value > LIMITS[name] else ""
        sys.stdout.write(f"{name:42} {value:>9,} (at most {LIMITS[name]:,}){mark}\n")
    if "--list" in sys.argv:
        for path, line, text in places:
            sys.stdout.write(f"{path.relative_to(ROOT)}:{line}: {text.splitlines()[0]}\n")
    return int(any(value > LIMITS[name] for name, value in measures.items()))


if __name__ == "__main__":
    sys.exit(main())
