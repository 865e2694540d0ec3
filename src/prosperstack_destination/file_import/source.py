"""Access to import files: compression, text encoding, and invalid rows."""

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

from prosperstack_destination.errors import InvalidInput

Row = Mapping[str, JsonValue]
#: Longest piece that is read at once to detect an encoding, in bytes.
_PIECE: Final = 1 << 20
_UTF_8: Final = "utf-8-sig"
_GZIP: Final = b"\x1f\x8b"
_ZIP: Final = b"PK\x03\x04"
#: Byte order marks and their encodings. UTF-32's comes first: it begins with UTF-16's.
_MARKS: Final = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass(frozen=True, slots=True)
class InvalidRow:
    """Row that cannot be read, with the reason."""

    reason: str
    #: True if the row has bytes that are invalid in the file's encoding.
    undecodable: bool = False


@contextmanager
def open_binary(file: Path) -> Iterator[BinaryIO]:
    """Open a file and decompress gzip. Raises `InvalidInput` if it cannot be read, also during reading.

    The first bytes decide on gzip, not the name: browsers decompress a file and keep its name, or the reverse.
    """
    try:
        with file.open("rb") as content:
            if content.peek(2)[:2] == _GZIP:
                with gzip.open(content, "rb") as inflated:
                    yield inflated  # type: ignore[misc] # a GzipFile reads like a file
            else:
                yield content
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidInput(f"{file} cannot be read: {error}") from None


@contextmanager
def open_text(file: Path, encoding: str | None, *, newline: str) -> Iterator[TextIO]:
    """Open a file as text. Without an encoding, the first bytes decide on UTF-8, UTF-16 or UTF-32.

    Invalid UTF-8 is read as lone surrogates, which `undecodable` finds. Raises `InvalidInput` for a ZIP
    archive, and for text that is not in the encoding.
    """
    with open_binary(file) as content:
        if content.peek(4)[:4] == _ZIP:  # type: ignore[attr-defined] # both kinds of files have it
            raise InvalidInput(f"{file} is a spreadsheet or a ZIP archive: export it as CSV in UTF-8.")
        name = _detect_encoding(content.peek(64)[:64]) if encoding is None else _normalize_encoding(encoding)  # type: ignore[attr-defined] # both kinds of files have it
        errors = {_UTF_8: "surrogateescape", "utf-16": "surrogatepass"}.get(name, "strict")
        try:
            yield io.TextIOWrapper(content, encoding=name, errors=errors, newline=newline)
        except UnicodeError as error:
            raise InvalidInput(
                f"{file} cannot be read as {encoding or name}: {error}. Export it as UTF-8, or name its encoding "
                "with --encoding."
            ) from None


def _detect_encoding(head: bytes) -> str:
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return encoding
    evens, odds = head[0::2], head[1::2]
    if len(odds) > 1 and not any(odds) and all(evens):
        return "utf-16-le"
    if len(odds) > 1 and not any(evens) and all(odds):
        return "utf-16-be"
    return _UTF_8


def _normalize_encoding(encoding: str) -> str:
    try:
        name = codecs.lookup(encoding).name
        "".encode(name)  # codecs that do not encode text, such as base64, raise here
    except LookupError:
        raise InvalidInput(
            f"There is no encoding {encoding!r}: --encoding takes names such as utf-8, utf-16 and windows-1252."
        ) from None
    return _UTF_8 if name == "utf-8" else name


def undecodable(text: str) -> InvalidRow | None:
    """Return the invalid row of a text with undecoded bytes or half a character; None for valid text."""
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
    """Return the invalid row of a text with a lone surrogate, as of a truncated emoji."""
    return InvalidRow(f"it has half of a character (the lone surrogate \\u{code:04x})")


def reject_if_not_utf8(file: Path, number: int, reason: str) -> None:
    """Raise `InvalidInput` for a file without any UTF-8 beyond ASCII, which has another encoding.

    ``number`` is the first row that is not UTF-8, with its ``reason``.
    """
    with open_binary(file) as content:
        while piece := content.readline(_PIECE):
            if not piece.isascii() and _is_utf8(piece):
                return
    raise InvalidInput(
        f"{file} is not UTF-8: row {number:,} cannot be read, because {reason}. Name the file's encoding, e.g. "
        "--encoding windows-1252 (which spreadsheets on Windows write), or export the file as UTF-8."
    )


def _is_utf8(piece: bytes) -> bool:
    try:
        piece.decode()
    except UnicodeDecodeError:
        return False
    return True


def reject_duplicate_columns(file: Path, columns: Iterable[str]) -> None:
    """Raise `InvalidInput` with the names of duplicate columns."""
    duplicates = [name for name, count in Counter(columns).items() if count > 1]
    if duplicates:
        names = ", ".join(map(repr, duplicates))
        raise InvalidInput(f"{file} has more than one column {names}. Rename or remove the others.")
