"""What commands print: tables for people, JSON for scripts; the same facts in both."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from prosperstack_destination.clock import utc
from prosperstack_destination.store.json_codec import dump, load

#: How wide tables are where no terminal says: a pipe should cut nothing, in characters.
_PIPE_WIDTH: Final = 200
#: Where warnings go, so that scripts read nothing but results.
errors: Final = Console(stderr=True, highlight=False, soft_wrap=True)
console: Final = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else _PIPE_WIDTH)


@dataclass(frozen=True, slots=True)
class Time:
    """A time in microseconds since the epoch: ISO 8601 for scripts, shorter for people; None: never."""

    at: int | None

    def __str__(self) -> str:
        return "" if self.at is None else f"{utc(self.at):%Y-%m-%d %H:%M:%S}"

    @property
    def iso(self) -> str | None:
        """As scripts read it."""
        return None if self.at is None else utc(self.at).isoformat()


Cell = Time | JsonValue


def print_json(content: JsonValue) -> None:
    """Print a JSON value, and nothing else."""
    print(_json(content, indent=2))


def print_rows(columns: Sequence[str], rows: Iterable[Sequence[Cell]], *, as_json: bool, nothing: str = "") -> None:
    """Print a list: a table under its columns, or an array of objects whose keys are the columns' names.

    ``nothing`` is told instead of an empty table.
    """
    found = list(rows)
    if as_json:
        keys = [column.lower().replace(" ", "_") for column in columns]
        print_json([dict(zip(keys, map(to_json, row), strict=True)) for row in found])
        return
    if not found and nothing:
        console.print(nothing)
        return
    console.print(table(columns, found))


def print_facts(facts: Mapping[str, Cell], *, as_json: bool) -> None:
    """Print what is known of one thing: a line each, or an object."""
    if as_json:
        print_json({name.lower().replace(" ", "_"): to_json(value) for name, value in facts.items()})
        return
    lines = Table.grid(padding=(0, 2))
    for name, value in facts.items():
        lines.add_row(f"[bold]{name}[/bold]", escape(format_cell(value)))
    console.print(lines)


def table(columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> Table:
    """A table of cells; numbers stand to the right."""
    found = list(rows)
    made = Table(*columns, box=None, header_style="bold")
    for number, column in enumerate(made.columns):
        if found and all(isinstance(row[number], int | float | None) for row in found):
            column.justify = "right"
    for row in found:
        made.add_row(*(escape(format_cell(cell)) for cell in row))
    return made


def format_cell(cell: Cell) -> str:
    """A cell for people."""
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
    """Text as a terminal may have it: whatever would steer it (colours, cursors, directions) is written out."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else f"\\u{ord(each):04x}" for each in text)


def to_json(cell: Cell) -> JsonValue:
    """A cell for scripts."""
    return cell.iso if isinstance(cell, Time) else cell


def one_line(content: JsonValue) -> str:
    """A JSON value on one line, for what prints many of them."""
    return _json(content)


def _json(content: JsonValue, indent: int | None = None) -> str:
    """JSON text; NaN and infinities, which databases of earlier versions may have, become null."""
    try:
        return json.dumps(content, ensure_ascii=False, indent=indent, allow_nan=False)
    except ValueError:
        return json.dumps(load(dump(content)), ensure_ascii=False, indent=indent)
