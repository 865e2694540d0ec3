"""Reader of JSON files: lines, arrays and consecutive objects. A malformed value is one invalid row."""

import json
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final, TextIO

from pydantic import JsonValue

from prosperstack_destination.errors import InvalidCall
from prosperstack_destination.file_import.source import (
    InvalidRow,
    Row,
    half_character,
    open_text,
    reject_duplicate_columns,
    undecodable,
)
from prosperstack_destination.ingest.request_body import MAX_DEPTH, check_bounds, not_a_number, without_nan
from prosperstack_destination.storable_text import storable

#: Longest row, in characters. A call has at most 64 KB.
LONGEST_ROW: Final = 1 << 20
_SPACE: Final = re.compile(r"[\s\ufeff]*")
#: Space between the elements of an array. Damaged arrays may have extra commas.
_BETWEEN: Final = re.compile(r"[\s,]*")
#: Tokens that decide where a value ends: strings (also unclosed ones of a line), brackets and commas.
_TOKEN: Final = re.compile(r'"[^"\\\n]*(?:\\.[^"\\\n]*)*"?|[{}\[\],]', re.DOTALL)
#: Start of the next value after a malformed line.
_NEXT_LINE: Final = re.compile(r"\s*\{")
_TOO_LONG: Final = f"it is longer than {LONGEST_ROW:,} characters"
_HALF: Final = re.compile(r"[\ud800-\udfff]")


def json_rows(file: Path, encoding: str | None, *, lines: bool) -> Iterator[Row | InvalidRow]:
    """Yield the rows of a JSON file: the elements of an array, or consecutive values.

    ``lines`` means one value a line; otherwise the first line decides. Raises `InvalidInput` for an object
    with a duplicate name.
    """
    decoder = json.JSONDecoder(object_pairs_hook=partial(_object, file), parse_constant=not_a_number)
    with open_text(file, encoding, newline="\n") as text:
        begin = text.read(LONGEST_ROW).lstrip(" \t\r\n\ufeff")
    with open_text(file, encoding, newline="\n") as text:
        if begin[:1] != "[" and (lines or _is_whole(begin.partition("\n")[0])):
            yield from _lines(text, decoder)
        else:
            yield from _Values(text, decoder, in_array=begin[:1] == "[")


def _object(file: Path, pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    content = dict(pairs)
    if len(content) != len(pairs):
        reject_duplicate_columns(file, [name for name, _ in pairs])
    return content


def _is_whole(line: str) -> bool:
    """Return False if a line is the beginning of a value that continues on the next line."""
    return line.rstrip()[-1:] not in ("{", "[", ",")


def _lines(text: TextIO, decoder: json.JSONDecoder) -> Iterator[Row | InvalidRow]:
    while line := text.readline(LONGEST_ROW + 1):
        if len(line) > LONGEST_ROW:
            while line and not line.endswith("\n"):
                line = text.readline(LONGEST_ROW)
            yield InvalidRow(_TOO_LONG)
        elif line := line.strip(" \t\r\n\ufeff"):
            try:
                value, end = decoder.raw_decode(line)
            except (ValueError, RecursionError) as error:
                yield undecodable(line) or InvalidRow(_reason(error, 0))
                continue
            yield (_row(value, line) if end == len(line) else InvalidRow("its line has text after the JSON object"))


class _Values:
    """Iterator over consecutive values, or over the elements of an array. It reads the file in pieces."""

    def __init__(self, text: TextIO, decoder: json.JSONDecoder, *, in_array: bool) -> None:
        self._text = text
        self._decoder = decoder
        self._in_array = in_array
        self._piece = ""
        self._place = 0
        self._ended = False
        self._broken = False

    def __iter__(self) -> Iterator[Row | InvalidRow]:
        if self._in_array:
            self._skip(_SPACE)
            self._place += 1  # the bracket
        while self._skip(_BETWEEN if self._in_array else _SPACE):
            if self._in_array and self._piece[self._place] == "]":
                self._place += 1
                if self._skip(_SPACE):
                    yield InvalidRow("the file has more text after its array, which is not read")
                return
            yield self._next()
        if self._in_array and not self._broken:
            yield InvalidRow("the file ends within its array: it is truncated")

    def _next(self) -> Row | InvalidRow:
        begin, self._broken = self._place, False
        try:
            value, self._place = self._decoder.raw_decode(self._piece, begin)
        except (ValueError, RecursionError) as error:
            bad = undecodable(self._piece[begin : begin + LONGEST_ROW]) or InvalidRow(_reason(error, begin))
            self._broken = True
            return bad if self._skip_broken() else InvalidRow(_TOO_LONG)
        if self._place - begin > LONGEST_ROW:
            return InvalidRow(_TOO_LONG)
        return _row(value, self._piece[begin : self._place])

    def _skip(self, space: re.Pattern[str]) -> bool:
        """Move to the next value and read all of it, unless it is too long; return False at the end."""
        while True:
            match = space.match(self._piece, self._place)
            self._place = self._place if match is None else match.end()
            if len(self._piece) - self._place <= LONGEST_ROW and self._read():
                continue
            return self._place < len(self._piece)

    def _read(self) -> bool:
        """Read the next piece and drop consumed text; return False at the end of the file."""
        if self._ended:
            return False
        more = self._text.read(4 * LONGEST_ROW)
        self._ended = not more
        self._piece = self._piece[self._place :] + more
        self._place = 0
        return not self._ended

    def _skip_broken(self) -> bool:
        """Move to the end of a malformed value; return False if it was too long to read as a whole."""
        depth, short = 0, True
        while True:
            for token in _TOKEN.finditer(self._piece, self._place):
                text = token[0]
                closed = len(text) > 1 and text[-1] == '"'
                if text[0] == '"' and not closed and token.end() == len(self._piece):
                    break  # the string may continue in the next piece
                if text == "]" and depth == 0 and self._in_array:
                    return short  # the array's own end
                self._place = token.end()
                if text[0] == '"':
                    if not closed and _NEXT_LINE.match(self._piece, self._place):
                        return short
                elif text in "{[":
                    depth += 1
                else:
                    depth -= text in "}]" and depth > 0
                    if depth == 0:
                        return short
            if not self._read():
                self._place = len(self._piece)
                return short
            short = False


def _row(value: JsonValue, text: str) -> Row | InvalidRow:
    """Return a parsed value as a row; ``text`` is its source."""
    if not isinstance(value, dict):
        return InvalidRow("it is not a JSON object")
    if bad := undecodable(text):
        return bad
    try:
        check_bounds(value, "the row")
    except InvalidCall as error:
        return InvalidRow(str(error))
    if "\\u" in text:
        if half := _HALF.search(json.dumps(value, ensure_ascii=False)):
            return half_character(ord(half[0]))
        value = storable(value)
    row = without_nan(value) if "NaN" in text or "Infinity" in text else value
    assert isinstance(row, dict)  # noqa: S101 -- for mypy: the type stays
    return row


def _reason(error: Exception, begin: int) -> str:
    """Return the reason why the row that begins at offset ``begin`` is not JSON."""
    if isinstance(error, RecursionError):
        return f"the row nests deeper than {MAX_DEPTH} levels"
    if isinstance(error, json.JSONDecodeError):
        return f"it is not valid JSON: {error.msg.removesuffix(' at')} at character {error.pos - begin + 1:,}"
    return "it has a number with too many digits"
