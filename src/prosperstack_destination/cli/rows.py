"""Reading files of people: CSV, JSON, JSONL and Parquet, row by row, with a file's rows understood as calls."""

import csv
import gzip
import hashlib
import importlib
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO, Final

from pydantic import JsonValue

from prosperstack_destination.emails import normalize_email
from prosperstack_destination.errors import BadCall, Misconfigured
from prosperstack_destination.segment.body import parse_object
from prosperstack_destination.segment.call import Deletion, Understood, read_call

#: What is read of a CSV file to find out what separates its columns, in characters.
_SNIFFED: Final = 64 * 1024
#: Rows of a Parquet file that are in memory at once.
_PARQUET_ROWS: Final = 5_000
#: Columns that Segment's warehouses add, which are nobody's traits; and those of the context.
SEGMENT_COLUMNS: Final = frozenset(
    {"uuid", "uuid_ts", "loaded_at", "received_at", "sent_at", "original_timestamp", "timestamp"}
)
_CONTEXT: Final = "context_"
#: Where these stand if nothing is said; the first that a file has.
_EMAIL_COLUMNS: Final = ("email", "email_address", "emailaddress")
_USER_COLUMNS: Final = ("user_id", "userid")
_TIME_COLUMNS: Final = ("timestamp", "original_timestamp", "updated_at", "received_at")

Row = Mapping[str, JsonValue]


@dataclass(frozen=True, slots=True)
class Reading:
    """How a file's columns are understood."""

    #: The columns of the email, the user id and the event time; None: found by their names.
    email: str | None = None
    user_id: str | None = None
    time: str | None = None
    #: Column names to the trait names that they become.
    renames: tuple[tuple[str, str], ...] = ()
    #: Columns that are left out.
    skip: frozenset[str] = frozenset()
    #: Whether an empty cell deletes the trait's value; otherwise it says nothing.
    empty_deletes: bool = False


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be read, and why."""

    reason: str


def identity(file: Path, account_id: str, reading: Reading) -> str:
    """What an import is told apart by: the file's content, the account, and how it is read."""
    digest = hashlib.sha256(f"{account_id}\n{reading}\n".encode())
    with _opened(file) as content:
        while piece := content.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def rows(file: Path) -> Iterator[Row | BadRow]:
    """A file's rows in their order. Raises `Misconfigured` for a file of no kind that is known."""
    kind = "".join(suffix for suffix in file.suffixes[-2:] if suffix != ".gz").lower().rpartition(".")[2]
    match kind:
        case "csv" | "tsv":
            yield from _csv(file)
        case "jsonl" | "ndjson":
            yield from _jsonl(file)
        case "json":
            yield from _json(file)
        case "parquet":
            yield from _parquet(file)
        case _:
            raise Misconfigured(f"{file} is of no kind that is known: .csv, .jsonl, .json or .parquet (also .gz).")


@contextmanager
def _opened(file: Path) -> Iterator[BinaryIO]:
    try:
        with file.open("rb") as content:
            if file.suffix.lower() == ".gz":
                with gzip.open(content, "rb") as inflated:
                    yield inflated  # type: ignore[misc] # it reads as a file does
            else:
                yield content
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise Misconfigured(f"{file} cannot be read: {error}") from None


def _csv(file: Path) -> Iterator[Row | BadRow]:
    with _opened(file) as content:
        text = io.TextIOWrapper(content, encoding="utf-8-sig", newline="")
        sniffed = text.read(_SNIFFED)
        text.seek(0)
        first = sniffed.splitlines()[0] if sniffed else ""
        separator = max(",;\t|", key=first.count)
        reader = csv.reader(text, delimiter=separator)
        columns = next(reader, [])
        for cells in reader:
            if not cells:
                continue
            if len(cells) != len(columns):
                yield BadRow(f"it has {len(cells)} cells, and there are {len(columns)} columns")
                continue
            yield dict(zip(columns, cells, strict=True))


def _jsonl(file: Path) -> Iterator[Row | BadRow]:
    with _opened(file) as content:
        for line in content:
            if not line.strip():
                continue
            try:
                yield parse_object(line)
            except BadCall as error:
                yield BadRow(str(error))


def _json(file: Path) -> Iterator[Row | BadRow]:
    with _opened(file) as content:
        try:
            found = json.load(content)
        except ValueError as error:
            raise Misconfigured(f"{file} is not JSON: {error}") from None
    for each in found if isinstance(found, list) else [found]:
        yield each if isinstance(each, dict) else BadRow("it is no JSON object")


def _parquet(file: Path) -> Iterator[Row | BadRow]:
    try:
        parquet = importlib.import_module("pyarrow.parquet")  # an optional extra
    except ImportError:
        raise Misconfigured(
            "Parquet files need pyarrow: pip install 'prosperstack-destination[parquet]', or export CSV or JSONL."
        ) from None
    try:
        table = parquet.ParquetFile(file)
    except (OSError, ValueError) as error:  # pyarrow's own errors are ValueErrors
        raise Misconfigured(f"{file} cannot be read: {error}") from None
    for batch in table.iter_batches(batch_size=_PARQUET_ROWS):
        for row in batch.to_pylist():
            yield {name: _as_json(value) for name, value in row.items()}


def _as_json(value: Any) -> JsonValue:
    """What a warehouse's value is in JSON."""
    match value:
        case datetime():
            return (value if value.tzinfo else value.replace(tzinfo=UTC)).isoformat()
        case date():
            return value.isoformat()
        case Decimal():
            return int(value) if value == value.to_integral_value() else float(value)
        case bytes():
            return value.decode(errors="replace")
        case timedelta():
            return value.total_seconds()
        case dict():
            return {str(name): _as_json(each) for name, each in value.items()}
        case list() | tuple():
            return [_as_json(each) for each in value]
        case _:
            found: JsonValue = value
            return found


class Rows:
    """Understands a file's rows. ``as_of`` (ISO 8601) is the time of those that tell none themselves."""

    def __init__(self, columns: Iterable[str], reading: Reading, as_of: str) -> None:
        known = list(columns)
        self._email = _column(known, reading.email, _EMAIL_COLUMNS)
        self._user_id = _column(known, reading.user_id, _USER_COLUMNS)
        self._time = _column(known, reading.time, _TIME_COLUMNS)
        self._renames = dict(reading.renames)
        self._skip = reading.skip
        self._empty_deletes = reading.empty_deletes
        self._as_of = as_of

    def understood(self, row: Row, now: int) -> Understood | Deletion | None:
        """What a row says as of now (microseconds); None: it asks to be skipped. Raises `CallRefused`'s kinds."""
        return read_call(row if is_call(row) else self._call(row), now)

    def _call(self, row: Row) -> dict[str, JsonValue]:
        """A row of columns as an Identify call."""
        call: dict[str, JsonValue] = {"type": "identify", "originalTimestamp": self._as_of}
        if self._user_id is not None and row.get(self._user_id) not in (None, ""):
            call["userId"] = row[self._user_id]
        if self._time is not None and row.get(self._time) not in (None, ""):
            call["timestamp"] = row[self._time]
        traits = {
            self._renames.get(name, name): value for name, value in row.items() if self._is_trait(name, value)
        }
        if self._email is not None:
            traits["email"] = row.get(self._email)
        call["traits"] = traits
        return call

    def _is_trait(self, name: str, value: JsonValue) -> bool:
        if name in self._renames:
            return value != "" or self._empty_deletes
        if name in self._skip or name in (self._email, self._user_id, self._time):
            return False
        if name in SEGMENT_COLUMNS or name.startswith(_CONTEXT):
            return False
        return value != "" or self._empty_deletes

    def email_of(self, row: Row) -> str | None:
        """The email of a row where it is in the usual place: to count people quickly."""
        value = row.get(self._email) if self._email is not None else None
        traits = row.get("traits")
        if value is None and isinstance(traits, dict):
            value = traits.get("email")
        return normalize_email(value) if isinstance(value, str) else None


def is_call(row: Row) -> bool:
    """Whether a row is a call of Segment's already, and no row of columns."""
    return isinstance(row.get("traits"), dict) or isinstance(row.get("context"), dict)


def _column(columns: Sequence[str], named: str | None, usual: Sequence[str]) -> str | None:
    """The column that is named, or the first of the usual ones. Raises `Misconfigured` where the former is not."""
    if named is not None:
        if named not in columns:
            raise Misconfigured(f"There is no column {named!r}: the file has {', '.join(columns[:30])}.")
        return named
    by_name = {column.strip().lower().replace("-", "_").replace(" ", "_"): column for column in reversed(columns)}
    return next((by_name[each] for each in usual if each in by_name), None)
