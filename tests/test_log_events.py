"""The page of log fields lists the events that the code logs."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import prosperstack_destination

SOURCE = Path(prosperstack_destination.__file__).parent
PAGE = SOURCE.parents[1] / "docs" / "reference" / "logs.md"
LEVELS = {"debug": "debug", "info": "info", "warning": "warning", "error": "error", "exception": "error"}


def texts_of(node: ast.expr) -> Iterator[str]:
    """Yield the texts that an expression may have."""
    if isinstance(node, ast.Constant):
        yield str(node.value)
    elif isinstance(node, ast.IfExp):
        yield from texts_of(node.body)
        yield from texts_of(node.orelse)


def logged_events() -> set[tuple[str, str]]:
    """Return the events of the code, each with its level."""
    events = set()
    for module in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LEVELS:
                receiver = ast.unparse(node.func.value)
                if receiver.rpartition(".")[2].strip("_") in ("log", "logger") and node.args:
                    events |= {(text, LEVELS[node.func.attr]) for text in texts_of(node.args[0])}
    return events


def test_every_event_is_on_the_page() -> None:
    """The table of events has each event of the code with its level, and no other."""
    _, _, table = PAGE.read_text().partition("| event | level |")
    shown = {(event, level) for event, level in re.findall(r"^\| `([^`]+)` \| (\w+) \|$", table, re.MULTILINE)}

    assert shown == logged_events()
