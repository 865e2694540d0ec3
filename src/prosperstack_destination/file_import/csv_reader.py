"""Reader of CSV files. A malformed line is one invalid row, and the next line begins a new row."""

import csv
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from prosperstack_destination.errors import InvalidInput
from prosperstack_destination.file_import.source import (
    InvalidRow,
    Row,
    open_text,
    reject_duplicate_columns,
    undecodable,
)
from prosperstack_destination.storable_text import storable_text

_SEPARATORS: Final = ",;\t|"
#: Start of the line in which spreadsheets declare the separator, e.g. ``sep=;``.
_SEPARATOR_LINE: Final = "sep="
#: Null in exports of Redshift and MySQL.
_NULL: Final = "\\N"
#: Longest cell, in characters.
LONGEST_CELL: Final = 128 * 1024


class _Lines:
    """Lines of a file. Those of a malformed row can be read again."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self._again: deque[str] = deque()
        self._row: list[str] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else next(self._lines)
        self._row.append(line)
        return line

    def next_row(self) -> None:
        """Begin a row."""
        self._row.clear()

    def read_again(self, *, but: int = 0) -> None:
        """Read the lines of the row again, except the first ``but`` ones."""
        self._again.extendleft(reversed(self._row[but:]))
        self._row.clear()


def csv_rows(file: Path, encoding: str | None) -> Iterator[Row | InvalidRow]:
    """Yield the rows of a CSV file, without blank ones. Raises `InvalidInput` for invalid column names."""
    with open_text(file, encoding, newline="") as text:
        lines = _Lines(text)
        reader = csv.reader(lines, delimiter=_separator(lines), strict=True)
        csv.field_size_limit(LONGEST_CELL)
        columns = _columns(file, reader)
        for cells in _rows(reader, lines):
            if isinstance(cells, InvalidRow):
                yield cells
            elif len(cells) != len(columns):
                yield InvalidRow(f"it has {len(cells)} cells, but the file has {len(columns)} columns")
            else:
                yield _row(columns, cells)


def _separator(lines: _Lines) -> str:
    """Return the separator of the first line that is not blank, after skipping the lines before it."""
    for line in lines:
        text = line.strip(" \r\n\ufeff")
        if text[:4].lower() == _SEPARATOR_LINE and len(text) == 5:
            lines.next_row()
            return text[4]
        if text.strip(_SEPARATORS + " "):
            lines.read_again()
            return max(_SEPARATORS, key=line.count)
        lines.next_row()
    return ","


def _columns(file: Path, reader: Iterator[list[str]]) -> list[str]:
    """Return the names of the columns; rows leave out a column without a name."""
    columns: list[str] = []
    try:
        columns = next((cells for cells in reader if any(map(str.strip, cells))), [])
    except csv.Error as error:
        raise InvalidInput(f"The first line of {file}, the column names, cannot be read: {error}.") from None
    if bad := undecodable("".join(columns)):
        raise InvalidInput(
            f"The first line of {file}, the column names, cannot be read: {bad.reason}. Export the file as "
            "UTF-8, or name its encoding, e.g. --encoding windows-1252."
        )
    names = [storable_text(column).strip() for column in columns]
    reject_duplicate_columns(file, [name for name in names if name])
    return names


def _rows(reader: Iterator[list[str]], lines: _Lines) -> Iterator[list[str] | InvalidRow]:
    while True:
        lines.next_row()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            lines.read_again(but=1)
            yield InvalidRow(_reason(error))
            continue
        if any(map(str.strip, cells)):
            yield undecodable("".join(cells)) or cells


def _reason(error: csv.Error) -> str:
    text = str(error)
    if "field larger" in text:
        return f"a cell has more than {LONGEST_CELL:,} characters, or a quote is not closed"
    if "unexpected end" in text:
        return "a quote is not closed"
    return "a quote is not closed, or text follows a closing quote"


def _row(columns: list[str], cells: list[str]) -> Row:
    return {
        column: None if cell == _NULL else storable_text(cell)
        for column, cell in zip(columns, cells, strict=True)
        if column
    }
