"""Output of commands: tables for people and JSON for scripts, with equal facts."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import pydantic_core
from pydantic import JsonValue
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from prosperstack_destination.clock import utc

#: Width of tables without a terminal, in characters, so that a pipe truncates nothing.
_PIPE_WIDTH: Final = 200
#: Console for warnings on standard error, so that standard output has results only.
errors: Final = Console(stderr=True, highlight=False, soft_wrap=True)
console: Final = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else _PIPE_WIDTH)


@dataclass(frozen=True, slots=True)
class Time:
    """Time in microseconds since the epoch, or None for never: ISO 8601 for scripts, shorter for people."""

    at: int | None

    def __str__(self) -> str:
        return "" if self.at is None else f"{utc(self.at):%Y-%m-%d %H:%M:%S}"

    @property
    def iso(self) -> str | None:
        """ISO 8601 text, for scripts."""
        return None if self.at is None else utc(self.at).isoformat()


Cell = Time | JsonValue


def print_json(content: JsonValue) -> None:
    """Print a JSON value, and nothing else."""
    print(_json(content, indent=2))


def print_rows(columns: Sequence[str], rows: Iterable[Sequence[Cell]], *, as_json: bool, nothing: str = "") -> None:
    """Print a table, or as JSON an array of objects with the column names as keys.

    ``nothing`` is printed instead of an empty table.
    """
    cells = list(rows)
    if as_json:
        keys = [column.lower().replace(" ", "_") for column in columns]
        print_json([dict(zip(keys, map(to_json, row), strict=True)) for row in cells])
        return
    if not cells and nothing:
        console.print(nothing)
        return
    console.print(table(columns, cells))


def print_facts(facts: Mapping[str, Cell], *, as_json: bool) -> None:
    """Print named facts, one a line, or as a JSON object."""
    if as_json:
        print_json({name.lower().replace(" ", "_"): to_json(value) for name, value in facts.items()})
        return
    lines = Table.grid(padding=(0, 2))
    for name, value in facts.items():
        lines.add_row(f"[bold]{name}[/bold]", escape(format_cell(value)))
    console.print(lines)


def table(columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> Table:
    """Return a table of cells, with columns of numbers right-aligned."""
    cells = list(rows)
    result = Table(*columns, box=None, header_style="bold")
    for number, column in enumerate(result.columns):
        if cells and all(isinstance(row[number], int | float | None) for row in cells):
            column.justify = "right"
    for row in cells:
        result.add_row(*(escape(format_cell(cell)) for cell in row))
    return result


def format_cell(cell: Cell) -> str:
    """Return a cell as text for people."""
    match cell:
        case None:
            return ""
        case bool():
            return "yes" if cell else "no"
        case int():
            return f"{cell:,}"
        case float():
            return f"{cell:,.1f}"
        case Time():
            return str(cell)
        case str():
            return visible(cell)
        case _:
            return visible(_json(cell))


def visible(text: str) -> str:
    """Return text that is safe for a terminal: control characters (colours, cursors, directions) are escaped."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else f"\\u{ord(each):04x}" for each in text)


def to_json(cell: Cell) -> JsonValue:
    """Return a cell as JSON."""
    return cell.iso if isinstance(cell, Time) else cell


def one_line(content: JsonValue) -> str:
    """Return a JSON value on one line, for output with one value a line."""
    return _json(content)


def _json(content: JsonValue, indent: int | None = None) -> str:
    """Return JSON text. NaN and infinities, which databases of earlier versions may hold, become null."""
    try:
        return json.dumps(content, ensure_ascii=False, indent=indent, allow_nan=False)
    except ValueError:
        return json.dumps(
            pydantic_core.from_json(pydantic_core.to_json(content, inf_nan_mode="null")),
            ensure_ascii=False,
            indent=indent,
        )
