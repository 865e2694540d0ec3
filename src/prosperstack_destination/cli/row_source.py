"""Opening a file of people: compression, text encoding, and the rows that cannot be read."""

import codecs
import gzip
import io
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, TextIO

from pydantic import JsonValue

from prosperstack_destination.errors import ConfigurationError

Row = Mapping[str, JsonValue]
#: The longest piece that is read at once while a file's encoding is looked for, in bytes.
_PIECE: Final = 1 << 20
_UTF_8: Final = "utf-8-sig"
_GZIP: Final = b"\x1f\x8b"
_ZIP: Final = b"PK\x03\x04"
#: Byte order marks to encodings; UTF-32's begins as UTF-16's does.
_MARKS: Final = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass(frozen=True, slots=True)
class InvalidRow:
    """A row that cannot be read, and the reason."""

    reason: str
    #: Whether bytes of it are no text in the file's encoding.
    undecodable: bool = False


@contextmanager
def open_binary(file: Path) -> Iterator[BinaryIO]:
    """Open a file, inflating gzip. Raises `ConfigurationError` where it cannot be read, also while it is read.

    Its first bytes say whether it is gzip: browsers inflate a file and leave its name, or the other way round.
    """
    try:
        with file.open("rb") as content:
            if content.peek(2)[:2] == _GZIP:
                with gzip.open(content, "rb") as inflated:
                    yield inflated  # type: ignore[misc] # it reads as a file does
            else:
                yield content
    except (OSError, EOFError, zlib.error) as error:
        raise ConfigurationError(f"{file} cannot be read: {error}") from None


@contextmanager
def open_text(file: Path, encoding: str | None, *, newline: str) -> Iterator[TextIO]:
    """Open a file as text, in an encoding or in the one that its first bytes show: UTF-8, UTF-16 or UTF-32.

    Bytes that are no UTF-8 are read as lone surrogates: `undecodable` finds them. Raises `ConfigurationError`.
    """
    with open_binary(file) as content:
        if content.peek(4)[:4] == _ZIP:  # type: ignore[attr-defined] # both kinds of files have it
            raise ConfigurationError(f"{file} is a spreadsheet or a ZIP archive: export it as CSV in UTF-8.")
        name = _encoding(content.peek(64)[:64]) if encoding is None else _known(encoding)  # type: ignore[attr-defined] # both kinds of files have it
        errors = {_UTF_8: "surrogateescape", "utf-16": "surrogatepass"}.get(name, "strict")
        try:
            yield io.TextIOWrapper(content, encoding=name, errors=errors, newline=newline)
        except UnicodeError as error:
            raise ConfigurationError(
                f"{file} cannot be read as {encoding or name}: {error}. Export it as UTF-8, or name its encoding "
                "with --encoding."
            ) from None


def _encoding(head: bytes) -> str:
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return encoding
    evens, odds = head[0::2], head[1::2]
    if len(odds) > 1 and not any(odds) and all(evens):
        return "utf-16-le"
    if len(odds) > 1 and not any(evens) and all(odds):
        return "utf-16-be"
    return _UTF_8


def _known(encoding: str) -> str:
    try:
        name = codecs.lookup(encoding).name
        "".encode(name)  # what is no encoding of text, as base64, refuses
    except LookupError:
        raise ConfigurationError(
            f"There is no encoding {encoding!r}: --encoding takes names such as utf-8, utf-16 and windows-1252."
        ) from None
    return _UTF_8 if name == "utf-8" else name


def undecodable(text: str) -> InvalidRow | None:
    """A row's text that was not decoded, or that has half of a character; None: it is good."""
    if text.isascii():
        return None
    try:
        text.encode()
    except UnicodeEncodeError as error:
        code = ord(text[error.start])
        if 0xDC80 <= code <= 0xDCFF:
            return InvalidRow(f"its byte 0x{code - 0xDC00:02X} is not UTF-8", undecodable=True)
        return half_character(code)
    return None


def half_character(code: int) -> InvalidRow:
    """A row with a lone surrogate, as of an emoji that was cut in half."""
    return InvalidRow(f"it has half of a character (the lone surrogate \\u{code:04x})")


def refuse_if_not_utf8(file: Path, number: int, reason: str) -> None:
    """Raise `ConfigurationError` for a file in which nothing but ASCII is UTF-8: its encoding is another one.

    ``number`` is the first row that is not UTF-8, for the reason.
    """
    with open_binary(file) as content:
        while piece := content.readline(_PIECE):
            if not piece.isascii() and _is_utf8(piece):
                return
    raise ConfigurationError(
        f"{file} is not UTF-8: row {number:,} cannot be read, because {reason}. Name the file's encoding, as in "
        "--encoding windows-1252 (which spreadsheets on Windows write), or export the file as UTF-8."
    )


def _is_utf8(piece: bytes) -> bool:
    try:
        piece.decode()
    except UnicodeDecodeError:
        return False
    return True


def refuse_doubled(file: Path, columns: Iterable[str]) -> None:
    """Raise `ConfigurationError` that names the columns that a file has twice."""
    doubled = [name for name, count in Counter(columns).items() if count > 1]
    if doubled:
        names = ", ".join(map(repr, doubled))
        raise ConfigurationError(
            f"{file} has more than one column {names}, and does not say which counts: rename or remove one of them."
        )
