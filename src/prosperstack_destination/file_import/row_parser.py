"""Reader of import files, and parser of rows as calls."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Final

from pydantic import JsonValue

from prosperstack_destination.clock import DAY, utc
from prosperstack_destination.errors import InvalidCall, InvalidInput, InvalidTime, MissingEmail
from prosperstack_destination.file_import.csv_reader import csv_rows
from prosperstack_destination.file_import.json_reader import json_rows
from prosperstack_destination.file_import.parquet_reader import parquet_rows
from prosperstack_destination.file_import.source import InvalidRow, Row, open_binary
from prosperstack_destination.ingest.parser import (
    OTHER_TYPES,
    ParsedDelete,
    ParsedIdentify,
    parse_call,
    time_of_call,
)
from prosperstack_destination.ingest.timestamps import EARLIEST, UnreadableTime, read_time
from prosperstack_destination.mapping.call_rules import CallRules, LeftOut

#: Columns that Segment's warehouses add, which are not traits; `_CONTEXT` is the prefix of the context's columns.
SEGMENT_COLUMNS: Final = frozenset(
    {"uuid", "uuid_ts", "loaded_at", "received_at", "sent_at", "original_timestamp", "timestamp", "anonymous_id"}
)
_CONTEXT: Final = "context_"
#: Usual names of columns. The first that a file has is used.
_EMAIL_COLUMNS: Final = ("email", "email_address", "emailaddress")
_USER_COLUMNS: Final = ("user_id", "userid")
_ANONYMOUS_COLUMNS: Final = ("anonymous_id",)
_TIME_COLUMNS: Final = ("timestamp", "original_timestamp", "updated_at", "received_at")
#: Segment's table `users` has the user ID in `id`. `identifies`, with `_OF_IDENTIFIES`, has the message ID there.
_ID: Final = "id"
_SEGMENT_TABLE: Final = ({"received_at"}, {"uuid_ts", "uuid", "loaded_at"})
_OF_IDENTIFIES: Final = frozenset({"user_id", "anonymous_id", "sent_at", "original_timestamp", "timestamp"})
#: Types of calls. A row with one of them and one of `_CALL_FIELDS` is a call, even without traits and context.
CALL_TYPES: Final = OTHER_TYPES | {"identify", "delete"}
_CALL_FIELDS: Final = frozenset({"userId", "anonymousId", "messageId"})
#: Number of row shapes whose columns are cached. Lines of JSON have many shapes.
_SHAPES: Final = 10_000
_FORM_ADVICE: Final = "; name the format with --time-format, e.g. '%d/%m/%Y %H:%M' or '%m/%d/%Y %H:%M'"


@dataclass(frozen=True, slots=True)
class ColumnOptions:
    """Options for the columns of a file."""

    #: Columns of the email, the user ID and the event time; None to find them by name.
    email: str | None = None
    user_id: str | None = None
    time: str | None = None
    #: Format of times for `datetime.strptime`; None to detect it.
    time_format: str | None = None
    #: Encoding of the text; None to detect it from the first bytes.
    encoding: str | None = None
    #: Pairs of a column and its trait name.
    renames: tuple[tuple[str, str], ...] = ()
    #: Columns to leave out.
    skip: frozenset[str] = frozenset()
    #: True if an empty cell deletes the trait's value; otherwise the cell is ignored.
    empty_deletes: bool = False

    @property
    def named_roles(self) -> list[str]:
        """Columns that the options name for the email, the user ID and the time."""
        return [each for each in (self.email, self.user_id, self.time) if each is not None]

    @property
    def named_columns(self) -> list[str]:
        """Columns that the file must have."""
        return [*self.named_roles, *(column for column, _ in self.renames), *sorted(self.skip)]

    def stored_form(self) -> str:
        """Return the options as text for the ID of an import. Stored IDs depend on its exact form.

        The set of `skip` is sorted: the order of a set differs between processes.
        """
        values = {each.name: repr(getattr(self, each.name)) for each in fields(self)}
        if self.skip:
            values["skip"] = f"frozenset({{{', '.join(map(repr, sorted(self.skip)))}}})"
        return f"Reading({', '.join(f'{name}={value}' for name, value in values.items())})"


@dataclass(frozen=True, slots=True)
class Roles:
    """Columns for the person, the time and the traits of a row."""

    email: str | None
    user_id: str | None
    anonymous_id: str | None
    #: Best first. The first that is not empty in a row is used.
    times: tuple[str, ...]
    #: Trait names by column.
    traits: Mapping[str, str]


def identity(file: Path, account_id: str, options: ColumnOptions) -> str:
    """Return the ID of an import: a hash of the file's content, the account and the column options.

    Equal options give equal IDs in every process and version, so that an interrupted import is resumed.
    """
    digest = hashlib.sha256(f"{account_id}\n{options.stored_form()}\n".encode())
    with open_binary(file) as content:
        while piece := content.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def rows(file: Path, encoding: str | None = None) -> Iterator[Row | InvalidRow]:
    """Yield the rows of a file in order.

    Raises `InvalidInput` for an unknown kind of file, and for a damaged file.
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
            return json_rows(file, encoding, lines=True)  # Segment's archive, whose names have no other suffix
    raise InvalidInput(
        f"{file} is of an unknown kind. The name has to end with .csv, .tsv, .jsonl, .ndjson, .json (each also "
        "with .gz) or .parquet; NAME.gz holds lines of JSON."
    )


def _begins_with_object(file: Path) -> bool:
    with open_binary(file) as content:
        return content.read(1024).lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"{"


class RowParser:
    """Parser of rows as calls. ``as_of`` is the time of rows without one: the file's, in microseconds.

    ``rules`` are the account's call rules.
    """

    def __init__(self, options: ColumnOptions, as_of: int, rules: CallRules | None = None) -> None:
        self._options = options
        self._rules = rules
        self._renames = dict(options.renames)
        self._as_of = as_of
        self._roles: dict[tuple[str, ...], Roles] = {}

    def parse(self, row: Row, now: int) -> ParsedIdentify | ParsedDelete | None:
        """Return the call of a row received ``now`` (microseconds); None if it is left out or disables this
        integration.

        Raises `CallError`.
        """
        parsed = self._parse(row, now)
        return None if isinstance(parsed, LeftOut) else parsed

    def _parse(self, row: Row, now: int) -> ParsedIdentify | ParsedDelete | LeftOut | None:
        if is_call(row):
            return parse_call(self._with_time(row, now), now, rules=self._rules)
        roles = self.roles(row)
        try:
            return parse_call(self._to_call(row, roles, now), now, rules=self._rules)
        except MissingEmail:
            problem = "the file has no email column" if roles.email is None else "it has no email"
            raise InvalidCall(f"{problem}: name the column (--email COLUMN, --user-id COLUMN).") from None

    def roles(self, row: Row) -> Roles:
        """Return the roles of a row's columns. Raises `InvalidInput` if two columns have one role."""
        shape = tuple(row)
        found = self._roles.get(shape)
        if found is None:
            if len(self._roles) >= _SHAPES:
                self._roles.clear()
            found = self._roles[shape] = self._roles_of(shape)
        return found

    def time(self, row: Row) -> tuple[str, JsonValue, int] | None:
        """Return column, value and time (microseconds) of a row; None if it has no time and gets the file's.

        Raises `InvalidTime` for a value that is not a time.
        """
        for column in self.roles(row).times:
            value = row.get(column)
            if value is None or value == "":
                continue
            try:
                return column, value, read_time(value, self._options.time_format)
            except UnreadableTime as error:
                advice = _FORM_ADVICE if error.is_regional else ""
                raise InvalidTime(column, value, f"{error}{advice}") from None
        return None

    def _roles_of(self, shape: Sequence[str]) -> Roles:
        options = self._options
        columns = [column for column in shape if column not in options.skip or column in options.named_roles]
        email = _column(columns, options.email, _EMAIL_COLUMNS)
        user_id = _column(columns, options.user_id, _USER_COLUMNS)
        anonymous_id = _column(columns, None, _ANONYMOUS_COLUMNS)
        named = [options.time] if options.time is not None else _TIME_COLUMNS
        times = tuple(found for each in named if (found := _column(columns, options.time, (each,))) is not None)
        normal = {_normal(column): column for column in columns}
        no_traits = {email, user_id, anonymous_id, *times[:1], *options.skip}
        if all(names & normal.keys() for names in _SEGMENT_TABLE) and _ID in normal:
            if normal.keys() & _OF_IDENTIFIES:
                no_traits.add(normal[_ID])
            elif user_id is None and normal[_ID] != email:
                user_id = normal[_ID]
                no_traits.add(user_id)
        return Roles(email, user_id, anonymous_id, times, self._traits(columns, no_traits, email))

    def _traits(self, columns: Sequence[str], no_traits: set[str | None], email: str | None) -> dict[str, str]:
        """Return the trait names by column. Raises `InvalidInput` if two columns become one trait."""
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
                raise InvalidInput(
                    f"The columns {one!r} and {other!r} both become the trait {trait!r}: leave one out with "
                    "--skip, or give it another trait with --map."
                )
        return traits

    def _to_call(self, row: Row, roles: Roles, now: int) -> dict[str, JsonValue]:
        """Return a row of columns as an Identify call."""
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
            if row[column] != "" or self._options.empty_deletes
        }
        if roles.email is not None:
            traits["email"] = row.get(roles.email)
        call["traits"] = traits
        return call

    def _with_time(self, row: Row, now: int) -> Row:
        """Return a row that is a call, with the file's time if it has none. Raises `InvalidTime`."""
        place, skipped = time_of_call(row, now)
        if place != "now":
            return row
        if skipped:
            raise InvalidTime(skipped[0].field, skipped[0].value, skipped[0].reason)
        return {**row, "timestamp": self._time_of_file()}

    def _time_of_file(self) -> int:
        if self._as_of < EARLIEST:  # archives give such times to their files
            raise InvalidCall(
                f"it has no time, and the file's own time is {utc(self._as_of).date()}: name the column of times "
                "(--time COLUMN), or set the file's time to that of the export (touch)."
            )
        return self._as_of


def is_call(row: Row) -> bool:
    """Return True if a row is a Segment call already, not a row of columns."""
    if isinstance(row.get("traits"), dict) or isinstance(row.get("context"), dict):
        return True
    kind = row.get("type")
    return isinstance(kind, str) and kind.lower() in CALL_TYPES and not _CALL_FIELDS.isdisjoint(row)


def check_time_format(form: str | None) -> None:
    """Raise `InvalidInput` for a format that cannot parse a date with its year."""
    if form is None:
        return
    moment = datetime(2021, 5, 14, 13, 45, 30)  # noqa: DTZ001 -- a format may have no offset
    try:
        if datetime.strptime(moment.strftime(form), form).date() == moment.date():  # noqa: DTZ007
            return
    except ValueError:
        pass
    raise InvalidInput(
        f"--time-format {form!r} does not parse a date with its year. Use a format of Python's strptime, such as "
        "'%d/%m/%Y %H:%M'."
    )


def _identifier(value: JsonValue) -> JsonValue:
    """Return a user ID without the ".0" that tables with empty cells add to whole numbers."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _normal(column: str) -> str:
    return column.strip().lower().replace("-", "_").replace(" ", "_")


def _column(columns: Sequence[str], named: str | None, usual: Sequence[str]) -> str | None:
    """Return the named column, or the first of the usual ones; None if the file has neither.

    Raises `InvalidInput` if two columns match a usual name.
    """
    if named is not None:
        return named if named in columns else None
    for name in usual:
        found = [column for column in columns if _normal(column) == name]
        if len(found) > 1:
            names = " and ".join(map(repr, found))
            raise InvalidInput(
                f"The file has the columns {names}, which have one meaning: leave out all but one with --skip."
            )
        if found:
            return found[0]
    return None
