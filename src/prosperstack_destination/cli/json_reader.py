"""Reader of JSON files: lines, arrays and objects one after the other; a broken one is one invalid row."""

import json
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final, TextIO

from pydantic import JsonValue

from prosperstack_destination.cli.row_source import (
    InvalidRow,
    Row,
    half_character,
    open_text,
    refuse_doubled,
    undecodable,
)
from prosperstack_destination.errors import InvalidCall
from prosperstack_destination.ingest.request_body import MAX_DEPTH, check_bounds, not_a_number, without_nan
from prosperstack_destination.storable import storable

#: The longest row, in characters: a call has at most 64 KB.
LONGEST_ROW: Final = 1 << 20
_SPACE: Final = re.compile(r"[\s\ufeff]*")
#: Space between the elements of an array. That of damaged ones may have too many commas.
_BETWEEN: Final = re.compile(r"[\s,]*")
#: What decides where a value ends: strings (also ones that are not closed on their line), brackets and commas.
_TOKEN: Final = re.compile(r'"[^"\\\n]*(?:\\.[^"\\\n]*)*"?|[{}\[\],]', re.DOTALL)
#: What follows a broken line where the next value begins.
_NEXT_LINE: Final = re.compile(r"\s*\{")
_TOO_LONG: Final = f"it is longer than {LONGEST_ROW:,} characters"
_HALF: Final = re.compile(r"[\ud800-\udfff]")


def json_rows(file: Path, encoding: str | None, *, lines: bool) -> Iterator[Row | InvalidRow]:
    """Read the rows of a JSON file: an array's elements, or values one after the other.

    ``lines``: each line is a value of its own; else they are where the first one is. Raises
    `ConfigurationError` where
    an object has a name twice.
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
    found = dict(pairs)
    if len(found) != len(pairs):
        refuse_doubled(file, [name for name, _ in pairs])
    return found


def _is_whole(line: str) -> bool:
    """Whether a line is a whole value, or a broken one, and not the beginning of one on several lines."""
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
            yield _row(value, line) if end == len(line) else InvalidRow("its line goes on after the JSON object")


class _Values:
    """Reads values that stand one after the other, or in an array, a piece of the file at a time."""

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
                    yield InvalidRow("the file goes on after its array, and the rest is not read")
                return
            yield self._next()
        if self._in_array and not self._broken:
            yield InvalidRow("the file ends within its array: it was cut off")

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
        """Go on to the next value, all of which is read unless it is too long; False: there is none."""
        while True:
            match = space.match(self._piece, self._place)
            self._place = self._place if match is None else match.end()
            if len(self._piece) - self._place <= LONGEST_ROW and self._read():
                continue
            return self._place < len(self._piece)

    def _read(self) -> bool:
        """Read on, and drop what was read before; False: the file has ended."""
        if self._ended:
            return False
        more = self._text.read(4 * LONGEST_ROW)
        self._ended = not more
        self._piece = self._piece[self._place :] + more
        self._place = 0
        return not self._ended

    def _skip_broken(self) -> bool:
        """Go to the end of a value that cannot be read; False: it was too long to be read whole."""
        depth, short = 0, True
        while True:
            for token in _TOKEN.finditer(self._piece, self._place):
                text = token[0]
                closed = len(text) > 1 and text[-1] == '"'
                if text[0] == '"' and not closed and token.end() == len(self._piece):
                    break  # it may go on in the next piece
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
    """A value that was read from a text, as a row."""
    if not isinstance(value, dict):
        return InvalidRow("it is no JSON object")
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
    found = without_nan(value) if "NaN" in text or "Infinity" in text else value
    assert isinstance(found, dict)  # noqa: S101 -- as it was
    return found


def _reason(error: Exception, begin: int) -> str:
    """Why a row that begins at a place of the text that was read is no JSON."""
    if isinstance(error, RecursionError):
        return f"the row nests deeper than {MAX_DEPTH} levels"
    if isinstance(error, json.JSONDecodeError):
        return f"it is not valid JSON: {error.msg.removesuffix(' at')} at character {error.pos - begin + 1:,}"
    return "it has a number with too many digits"
