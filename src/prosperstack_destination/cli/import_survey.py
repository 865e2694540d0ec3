"""The first look through a file: what its rows say, before any of them is taken in."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pydantic import JsonValue

from prosperstack_destination.cli.row_reader import ColumnOptions, RowParser, is_call, rows
from prosperstack_destination.cli.row_source import InvalidRow, Row, refuse_if_not_utf8
from prosperstack_destination.errors import CallError, ConfigurationError, InvalidTime, UnsupportedCall
from prosperstack_destination.ingest.parser import ParsedDelete, ParsedIdentify

#: Rows that are refused and shown with their reasons.
SHOWN_REFUSALS: Final = 10
#: Different people that are counted exactly; past it every row counts as another person.
COUNTED_PEOPLE: Final = 2_000_000
#: People of whom the cost is estimated from what is stored.
SAMPLE: Final = 2_000


@dataclass(slots=True)
class Refusals:
    """The rows that are refused: how many, and the first of them with their reasons."""

    count: int = 0
    first: list[tuple[int, str]] = field(default_factory=list)

    def add(self, number: int, reason: str) -> None:
        """Count a row that is refused."""
        self.count += 1
        if len(self.first) < SHOWN_REFUSALS:
            self.first.append((number, reason))


@dataclass(frozen=True, slots=True)
class TimeExample:
    """One row's time, as it stands in the file and as it was understood (microseconds)."""

    row: int
    column: str
    value: JsonValue
    at: int


@dataclass(slots=True)
class Survey:
    """What is in a file."""

    columns: dict[str, None] = field(default_factory=dict)
    rows: int = 0
    refusals: Refusals = field(default_factory=Refusals)
    #: Of the refused ones: rows that are damaged, rows whose time cannot be used, and the first of them.
    unreadable: int = 0
    unreadable_times: int = 0
    first_bad_time: tuple[int, InvalidTime] | None = None
    #: Rows that are nobody's traits: calls of other types, or calls that ask to be skipped.
    ignored: int = 0
    #: Rows that are Delete calls.
    deletions: int = 0
    people: set[int] = field(default_factory=set)
    uncounted: int = 0
    #: Rows with an email and with a user id, and rows that take the file's time.
    with_email: int = 0
    with_user_id: int = 0
    without_time: int = 0
    #: The columns that say of whom rows are.
    email_columns: dict[str, None] = field(default_factory=dict)
    user_id_columns: dict[str, None] = field(default_factory=dict)
    time_example: TimeExample | None = None
    #: Some people, spread over the whole file.
    sample: list[ParsedIdentify] = field(default_factory=list)
    _stride: int = 1

    @property
    def most_people(self) -> int:
        """How many people there may be."""
        return len(self.people) + self.uncounted

    @property
    def good(self) -> int:
        """Rows that can be taken in."""
        return self.rows - self.refusals.count - self.ignored

    def add_person(self, understood: ParsedIdentify) -> None:
        """Count the person of a row."""
        self.with_email += understood.email is not None
        self.with_user_id += understood.user_id is not None
        if len(self.people) >= COUNTED_PEOPLE:
            self.uncounted += 1
            return
        before = len(self.people)
        self.people.add(hash(understood.email or (understood.user_id, understood.anonymous_id)))
        if len(self.people) > before and before % self._stride == 0:
            self.sample.append(understood)
            if len(self.sample) > SAMPLE:
                del self.sample[1::2]
                self._stride *= 2


def surveyed(file: Path, reading: ColumnOptions, as_of: int, now: int) -> Survey:
    """Look through a file; ``as_of`` is its own time. Raises `ConfigurationError` for one that cannot be read
    so.
    """
    survey, understanding = Survey(), RowParser(reading, as_of)
    undecodable: tuple[int, str] | None = None
    for number, row in enumerate(rows(file, reading.encoding), 1):
        survey.rows = number
        if isinstance(row, InvalidRow):
            survey.refusals.add(number, row.reason)
            survey.unreadable += 1
            if row.undecodable and undecodable is None:
                undecodable = number, row.reason
        else:
            _look_at(number, row, understanding, survey, now)
    if undecodable is not None:
        refuse_if_not_utf8(file, *undecodable)
    if survey.rows == 0:
        raise ConfigurationError(f"{file} has no rows.")
    missing = [name for name in reading.named_columns if name not in survey.columns]
    if missing and survey.columns:
        columns = ", ".join(list(survey.columns)[:30])
        raise ConfigurationError(f"There is no column {missing[0]!r}: the file has {columns}.")
    return survey


def _look_at(number: int, row: Row, understanding: RowParser, survey: Survey, now: int) -> None:
    if not row.keys() <= survey.columns.keys():
        survey.columns.update(dict.fromkeys(row))
    try:
        understood = understanding.parse(row, now)
    except UnsupportedCall:
        survey.ignored += 1
    except CallError as error:
        survey.refusals.add(number, str(error))
        if isinstance(error, InvalidTime):
            survey.unreadable_times += 1
            survey.first_bad_time = survey.first_bad_time or (number, error)
    else:
        if understood is None:
            survey.ignored += 1
        elif isinstance(understood, ParsedDelete):
            survey.deletions += 1
            survey.with_user_id += 1
        else:
            survey.add_person(understood)
            if not is_call(row):
                _look_at_columns(number, row, understanding, survey)


def _look_at_columns(number: int, row: Row, understanding: RowParser, survey: Survey) -> None:
    roles = understanding.roles(row)
    if roles.email is not None:
        survey.email_columns[roles.email] = None
    if roles.user_id is not None:
        survey.user_id_columns[roles.user_id] = None
    if all(row.get(column) in (None, "") for column in roles.times):
        survey.without_time += 1
    elif survey.time_example is None and (found := understanding.time(row)) is not None:
        survey.time_example = TimeExample(number, *found)
