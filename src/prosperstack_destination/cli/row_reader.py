"""Files of people, row by row, and what a row says as a call."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Final

from pydantic import JsonValue

from prosperstack_destination.cli.csv_reader import csv_rows
from prosperstack_destination.cli.json_reader import json_rows
from prosperstack_destination.cli.parquet_reader import parquet_rows
from prosperstack_destination.cli.row_source import InvalidRow, Row, open_binary
from prosperstack_destination.clock import DAY, utc
from prosperstack_destination.errors import ConfigurationError, InvalidCall, InvalidTime, MissingEmail
from prosperstack_destination.ingest.parser import (
    OTHER_TYPES,
    ParsedDelete,
    ParsedIdentify,
    parse_call,
    time_of_call,
)
from prosperstack_destination.ingest.timestamps import EARLIEST, UnreadableTime, read_time

#: Columns that Segment's warehouses add, which are nobody's traits; and those of the context.
SEGMENT_COLUMNS: Final = frozenset(
    {"uuid", "uuid_ts", "loaded_at", "received_at", "sent_at", "original_timestamp", "timestamp", "anonymous_id"}
)
_CONTEXT: Final = "context_"
#: The usual names of columns; the first that a file has counts.
_EMAIL_COLUMNS: Final = ("email", "email_address", "emailaddress")
_USER_COLUMNS: Final = ("user_id", "userid")
_ANONYMOUS_COLUMNS: Final = ("anonymous_id",)
_TIME_COLUMNS: Final = ("timestamp", "original_timestamp", "updated_at", "received_at")
#: Of Segment's own tables `users` has the user id in `id`, and `identifies`, with these columns, the message's.
_ID: Final = "id"
_SEGMENT_TABLE: Final = ({"received_at"}, {"uuid_ts", "uuid", "loaded_at"})
_OF_IDENTIFIES: Final = frozenset({"user_id", "anonymous_id", "sent_at", "original_timestamp", "timestamp"})
#: The type and one of these fields make a call, also one without traits and context.
CALL_TYPES: Final = OTHER_TYPES | {"identify", "delete"}
_CALL_FIELDS: Final = frozenset({"userId", "anonymousId", "messageId"})
#: Shapes of rows that are kept with the meaning of their columns: lines of JSON have many.
_SHAPES: Final = 10_000
_FORM_ADVICE: Final = "; say it with --time-format, as in '%d/%m/%Y %H:%M' or '%m/%d/%Y %H:%M'"


@dataclass(frozen=True, slots=True)
class ColumnOptions:
    """How a file's columns are understood."""

    #: The columns of the email, the user id and the event time; None: found by their names.
    email: str | None = None
    user_id: str | None = None
    time: str | None = None
    #: The form of times, as `datetime.strptime` takes it; None: as they say by themselves.
    time_format: str | None = None
    #: The text's encoding; None: as the file's first bytes show.
    encoding: str | None = None
    #: Column names to the trait names that they become.
    renames: tuple[tuple[str, str], ...] = ()
    #: Columns that are left out.
    skip: frozenset[str] = frozenset()
    #: Whether an empty cell deletes the trait's value; otherwise it says nothing.
    empty_deletes: bool = False

    @property
    def named_roles(self) -> list[str]:
        """The columns that are named for what they say of a row."""
        return [each for each in (self.email, self.user_id, self.time) if each is not None]

    @property
    def named_columns(self) -> list[str]:
        """The columns that the file must have."""
        return [*self.named_roles, *(column for column, _ in self.renames), *sorted(self.skip)]


@dataclass(frozen=True, slots=True)
class Roles:
    """The columns that say of whom and when a row is."""

    email: str | None
    user_id: str | None
    anonymous_id: str | None
    #: The best first; the first that is not empty in a row counts.
    times: tuple[str, ...]
    #: Columns to the traits that they become.
    traits: Mapping[str, str]


def identity(file: Path, account_id: str, reading: ColumnOptions) -> str:
    """Return what identifies an import: a hash of the file's content, the account, and how it is read."""
    digest = hashlib.sha256(f"{account_id}\n{reading}\n".encode())
    with open_binary(file) as content:
        while piece := content.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def rows(file: Path, encoding: str | None = None) -> Iterator[Row | InvalidRow]:
    """Read a file's rows in their order. Raises `ConfigurationError` for a file of no known kind, or that is
    damaged.
    """
    suffixes = [suffix.lower().removeprefix(".") for suffix in file.suffixes]
    is_gzip = suffixes[-1:] == ["gz"]
    kind = (suffixes[:-1] if is_gzip else suffixes)[-1:]
    match kind[0] if kind else "":
        case "csv" | "tsv":
            return csv_rows(file, encoding)
        case "jsonl" | "ndjson":
            return json_rows(file, encoding, lines=True)
        case "json":
            return json_rows(file, encoding, lines=False)
        case "parquet" if not is_gzip:
            return parquet_rows(file)
        case _ if is_gzip and _begins_with_object(file):
            return json_rows(file, encoding, lines=True)  # as in Segment's archive, whose names say no more
    raise ConfigurationError(
        f"{file} is of no known kind: the name of a file ends with .csv, .tsv, .jsonl, .ndjson, .json (all of them "
        "also with .gz) or .parquet; NAME.gz holds lines of JSON."
    )


def _begins_with_object(file: Path) -> bool:
    with open_binary(file) as content:
        return content.read(1024).lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"{"


class RowParser:
    """Understands rows. ``as_of`` (microseconds) is the time of those that tell none themselves: the file's."""

    def __init__(self, reading: ColumnOptions, as_of: int) -> None:
        self._reading = reading
        self._renames = dict(reading.renames)
        self._as_of = as_of
        self._roles: dict[tuple[str, ...], Roles] = {}

    def parse(self, row: Row, now: int) -> ParsedIdentify | ParsedDelete | None:
        """What a row says as of now (microseconds); None: it asks to be skipped. Raises `CallError`'s kinds."""
        if is_call(row):
            return parse_call(self._with_time(row, now), now)
        roles = self.roles(row)
        try:
            return parse_call(self._call(row, roles, now), now)
        except MissingEmail:
            where = "the file has no column of emails: name it" if roles.email is None else "it names no email"
            raise InvalidCall(f"{where} (--email COLUMN, --user-id COLUMN).") from None

    def roles(self, row: Row) -> Roles:
        """What the columns of a row mean. Raises `ConfigurationError` where two columns mean the same."""
        shape = tuple(row)
        found = self._roles.get(shape)
        if found is None:
            if len(self._roles) >= _SHAPES:
                self._roles.clear()
            found = self._roles[shape] = self._roles_of(shape)
        return found

    def time(self, row: Row) -> tuple[str, JsonValue, int] | None:
        """The column, the value and the time in microseconds that a row of columns has; None: the file's counts.

        Raises `InvalidCall` where it cannot be read.
        """
        for column in self.roles(row).times:
            value = row.get(column)
            if value is None or value == "":
                continue
            try:
                return column, value, read_time(value, self._reading.time_format)
            except UnreadableTime as error:
                advice = _FORM_ADVICE if error.is_regional else ""
                raise InvalidTime(column, value, f"{error}{advice}") from None
        return None

    def _roles_of(self, shape: Sequence[str]) -> Roles:
        reading = self._reading
        columns = [column for column in shape if column not in reading.skip or column in reading.named_roles]
        email = _column(columns, reading.email, _EMAIL_COLUMNS)
        user_id = _column(columns, reading.user_id, _USER_COLUMNS)
        anonymous_id = _column(columns, None, _ANONYMOUS_COLUMNS)
        named = [reading.time] if reading.time is not None else _TIME_COLUMNS
        times = tuple(found for each in named if (found := _column(columns, reading.time, (each,))) is not None)
        normal = {_normal(column): column for column in columns}
        no_traits = {email, user_id, anonymous_id, *times[:1], *reading.skip}
        if all(names & normal.keys() for names in _SEGMENT_TABLE) and _ID in normal:
            if normal.keys() & _OF_IDENTIFIES:
                no_traits.add(normal[_ID])
            elif user_id is None and normal[_ID] != email:
                user_id = normal[_ID]
                no_traits.add(user_id)
        return Roles(email, user_id, anonymous_id, times, self._traits(columns, no_traits, email))

    def _traits(self, columns: Sequence[str], no_traits: set[str | None], email: str | None) -> dict[str, str]:
        """Which column becomes which trait. Raises `ConfigurationError` where two become the same."""
        traits: dict[str, str] = {}
        for column in columns:
            if column in self._renames:
                traits[column] = self._renames[column]
            elif column not in no_traits and not (column == "email" and email):
                name = _normal(column)
                if name not in SEGMENT_COLUMNS and not name.startswith(_CONTEXT):
                    traits[column] = column
        taken = [(trait, column) for column, trait in traits.items()]
        taken += [("email", email)] if email is not None and traits.get(email) != "email" else []
        for (trait, one), (other_trait, other) in pairwise(sorted(taken)):
            if trait == other_trait:
                raise ConfigurationError(
                    f"The columns {one!r} and {other!r} both become the trait {trait!r}: leave one out with "
                    "--skip, or name its trait with --map."
                )
        return traits

    def _call(self, row: Row, roles: Roles, now: int) -> dict[str, JsonValue]:
        """A row of columns as an Identify call."""
        found = self.time(row)
        if found is not None and found[2] > now + DAY:
            raise InvalidTime(found[0], found[1], "it is in the future")
        at = self._time_of_file() if found is None else found[2]
        call: dict[str, JsonValue] = {"type": "identify", "timestamp": at}
        for field, column in (("userId", roles.user_id), ("anonymousId", roles.anonymous_id)):
            if column is not None and row.get(column) not in (None, ""):
                call[field] = _identifier(row[column])
        traits = {
            trait: row[column]
            for column, trait in roles.traits.items()
            if row[column] != "" or self._reading.empty_deletes
        }
        if roles.email is not None:
            traits["email"] = row.get(roles.email)
        call["traits"] = traits
        return call

    def _with_time(self, row: Row, now: int) -> Row:
        """A call of Segment's with a time: where it has none, the file's. Raises `InvalidTime`."""
        place, skipped = time_of_call(row, now)
        if place != "now":
            return row
        if skipped:
            raise InvalidTime(skipped[0].field, skipped[0].value, skipped[0].reason)
        return {**row, "timestamp": self._time_of_file()}

    def _time_of_file(self) -> int:
        if self._as_of < EARLIEST:  # as archives give to the files in them
            raise InvalidCall(
                f"it has no time, and the file's own time is {utc(self._as_of).date()}: name the column of times "
                "(--time COLUMN), or set the file's time to when it was exported (touch)."
            )
        return self._as_of


def is_call(row: Row) -> bool:
    """Whether a row is a call of Segment's already, and no row of columns."""
    if isinstance(row.get("traits"), dict) or isinstance(row.get("context"), dict):
        return True
    kind = row.get("type")
    return isinstance(kind, str) and kind.lower() in CALL_TYPES and not _CALL_FIELDS.isdisjoint(row)


def check_time_format(form: str | None) -> None:
    """Raise `ConfigurationError` for a form of times that reads none."""
    if form is None:
        return
    moment = datetime(2021, 5, 14, 13, 45, 30)  # noqa: DTZ001 -- a form need not have an offset
    try:
        if datetime.strptime(moment.strftime(form), form).date() == moment.date():  # noqa: DTZ007
            return
    except ValueError:
        pass
    raise ConfigurationError(
        f"--time-format {form!r} is no form of a day with its year: it takes what Python's strptime takes, such as "
        "'%d/%m/%Y %H:%M'."
    )


def _identifier(value: JsonValue) -> JsonValue:
    """A user id; tables that have empty cells keep whole numbers as 7.0."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _normal(column: str) -> str:
    return column.strip().lower().replace("-", "_").replace(" ", "_")


def _column(columns: Sequence[str], named: str | None, usual: Sequence[str]) -> str | None:
    """The column that is named, or the first of the usual ones. Raises `ConfigurationError` where two may be
    meant.
    """
    if named is not None:
        return named if named in columns else None
    for name in usual:
        found = [column for column in columns if _normal(column) == name]
        if len(found) > 1:
            names = " and ".join(map(repr, found))
            raise ConfigurationError(
                f"The file has the columns {names}, and does not say which counts: leave out all but one with "
                "--skip."
            )
        if found:
            return found[0]
    return None
