"""Survey of an import file, which commits nothing, and the estimate of the import's cost in requests."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Final

from pydantic import JsonValue
from sqlalchemy import Connection

from prosperstack_destination.account_mapping import load
from prosperstack_destination.errors import CallError, InvalidInput, InvalidTime, UnsupportedCall
from prosperstack_destination.file_import.row_parser import ColumnOptions, RowParser, is_call, rows
from prosperstack_destination.file_import.source import InvalidRow, Row, reject_if_not_utf8
from prosperstack_destination.ingest.parser import ParsedDelete, ParsedIdentify
from prosperstack_destination.mapping.expression_runner import MappingInput
from prosperstack_destination.prosperstack.forecast import PAGE, Forecast, Rate, forecast
from prosperstack_destination.reconcile.rate_limiter import account_rate
from prosperstack_destination.reconcile.three_way_diff import diff
from prosperstack_destination.store import listing_state, profiles
from prosperstack_destination.store import subscribers as subscriber_rows
from prosperstack_destination.store.accounts import Account
from prosperstack_destination.store.merge import merge
from prosperstack_destination.store.subscribers import Subscriber
from prosperstack_destination.store.timed_traits import by_name, by_time

#: Number of rejected rows that are shown with their reasons.
SHOWN_REJECTIONS: Final = 10
#: Number of people that are counted exactly. Above it, every row counts as another person.
COUNTED_PEOPLE: Final = 2_000_000
#: Size of the sample of people that the cost is estimated from.
SAMPLE: Final = 2_000


@dataclass(slots=True)
class Rejections:
    """Rejected rows: their number, and the first ones with their reasons."""

    count: int = 0
    first: list[tuple[int, str]] = field(default_factory=list)

    def add(self, number: int, reason: str) -> None:
        """Count a rejected row."""
        self.count += 1
        if len(self.first) < SHOWN_REJECTIONS:
            self.first.append((number, reason))


@dataclass(frozen=True, slots=True)
class TimeExample:
    """Time of one row: the value in the file, and its meaning in microseconds since the epoch."""

    row: int
    column: str
    value: JsonValue
    at: int


@dataclass(slots=True)
class Survey:
    """Contents of an import file."""

    columns: dict[str, None] = field(default_factory=dict)
    rows: int = 0
    rejections: Rejections = field(default_factory=Rejections)
    #: Among the rejected rows: damaged rows, rows with an invalid time, and the first of those.
    unreadable: int = 0
    unreadable_times: int = 0
    first_bad_time: tuple[int, InvalidTime] | None = None
    #: Rows without data of a person: calls of other types, and calls with the integration disabled.
    ignored: int = 0
    #: Delete calls.
    deletions: int = 0
    people: set[int] = field(default_factory=set)
    uncounted: int = 0
    #: Rows with an email, rows with a user ID, and rows that get the file's time.
    with_email: int = 0
    with_user_id: int = 0
    without_time: int = 0
    #: Columns that identify the person of a row.
    email_columns: dict[str, None] = field(default_factory=dict)
    user_id_columns: dict[str, None] = field(default_factory=dict)
    time_example: TimeExample | None = None
    #: People from all parts of the file, at most `SAMPLE`.
    sample: list[ParsedIdentify] = field(default_factory=list)
    _stride: int = 1

    @property
    def most_people(self) -> int:
        """Upper bound of the number of people."""
        return len(self.people) + self.uncounted

    @property
    def good(self) -> int:
        """Number of rows that can be imported."""
        return self.rows - self.rejections.count - self.ignored

    def add_person(self, parsed: ParsedIdentify) -> None:
        """Count the person of a row."""
        self.with_email += parsed.email is not None
        self.with_user_id += parsed.user_id is not None
        if len(self.people) >= COUNTED_PEOPLE:
            self.uncounted += 1
            return
        before = len(self.people)
        self.people.add(hash(parsed.email or (parsed.user_id, parsed.anonymous_id)))
        if len(self.people) > before and before % self._stride == 0:
            self.sample.append(parsed)
            if len(self.sample) > SAMPLE:
                del self.sample[1::2]
                self._stride *= 2


def survey_file(file: Path, columns: ColumnOptions, as_of: int, now: int) -> Survey:
    """Read a file whose own time is ``as_of`` (microseconds).

    Raises `InvalidInput` for a file that is not readable, has no rows, or lacks a named column.
    """
    survey, parser = Survey(), RowParser(columns, as_of)
    undecodable: tuple[int, str] | None = None
    for number, row in enumerate(rows(file, columns.encoding), 1):
        survey.rows = number
        if isinstance(row, InvalidRow):
            survey.rejections.add(number, row.reason)
            survey.unreadable += 1
            if row.undecodable and undecodable is None:
                undecodable = number, row.reason
        else:
            _survey_row(number, row, parser, survey, now)
    if undecodable is not None:
        reject_if_not_utf8(file, *undecodable)
    if survey.rows == 0:
        raise InvalidInput(f"{file} has no rows.")
    missing = [name for name in columns.named_columns if name not in survey.columns]
    if missing and survey.columns:
        names = ", ".join(list(survey.columns)[:30])
        raise InvalidInput(f"There is no column {missing[0]!r}: the file has {names}.")
    return survey


def _survey_row(number: int, row: Row, parser: RowParser, survey: Survey, now: int) -> None:
    if not row.keys() <= survey.columns.keys():
        survey.columns.update(dict.fromkeys(row))
    try:
        parsed = parser.parse(row, now)
    except UnsupportedCall:
        survey.ignored += 1
    except CallError as error:
        survey.rejections.add(number, str(error))
        if isinstance(error, InvalidTime):
            survey.unreadable_times += 1
            survey.first_bad_time = survey.first_bad_time or (number, error)
    else:
        if parsed is None:
            survey.ignored += 1
        elif isinstance(parsed, ParsedDelete):
            survey.deletions += 1
            survey.with_user_id += 1
        else:
            survey.add_person(parsed)
            if not is_call(row):
                _survey_columns(number, row, parser, survey)


def _survey_columns(number: int, row: Row, parser: RowParser, survey: Survey) -> None:
    roles = parser.roles(row)
    if roles.email is not None:
        survey.email_columns[roles.email] = None
    if roles.user_id is not None:
        survey.user_id_columns[roles.user_id] = None
    if all(row.get(column) in (None, "") for column in roles.times):
        survey.without_time += 1
    elif survey.time_example is None and (parsed_time := parser.time(row)) is not None:
        survey.time_example = TimeExample(number, *parsed_time)


#: Number of emails in one query.
_EMAILS: Final = 500


@dataclass(frozen=True, slots=True)
class Estimate:
    """Cost of an import."""

    rate: Rate
    #: Upper bound: every person is a subscriber, with values that differ from the file's.
    most: Forecast
    #: Estimate from the stored subscribers; None if there are none yet.
    likely: Forecast | None


def estimate(connection: Connection, account: Account, survey: Survey, reserve: float) -> Estimate:
    """Estimate the cost of a file from its sample of people.

    ``reserve`` is the share of the rate limit kept free for the owner's tools, unless the account has its own.
    """
    rate = account_rate(connection, account, reserve)
    people = survey.most_people
    listed = listing_state.read(connection, account.id)
    most = forecast(people, rate, matching=people, subscribers=listed.size)
    subscribers = _subscribers(connection, account, survey.sample)
    if not survey.sample or (listed.as_of is None and not subscribers):
        return Estimate(rate, most, None)
    scale = people / len(survey.sample)
    unknown = sum(each.email not in subscribers for each in survey.sample) * scale
    writes = _writes(connection, account, survey.sample, subscribers) * scale
    if listed.as_of is None:
        writes += unknown  # each of these people may be a subscriber
        to_learn = unknown
    else:
        to_learn = min(unknown, -(-(listed.size or 0) // PAGE))
    requests = round(to_learn), round(writes)
    return Estimate(rate, most, Forecast(*requests, sum(requests) / rate.per_second))


def _subscribers(
    connection: Connection, account: Account, sample: Sequence[ParsedIdentify]
) -> dict[str, list[Subscriber]]:
    subscribers: dict[str, list[Subscriber]] = {}
    emails = iter([each.email for each in sample if each.email is not None])
    while batch := list(islice(emails, _EMAILS)):
        subscribers |= subscriber_rows.with_emails(connection, account.id, batch)
    return subscribers


def _writes(
    connection: Connection,
    account: Account,
    sample: Sequence[ParsedIdentify],
    subscribers: dict[str, list[Subscriber]],
) -> int:
    """Return the number of updates for a sample: its stored subscribers whose values differ."""
    mapping = load(connection, account)
    count = 0
    for each in sample:
        stored_subscribers = subscribers.get(each.email or "", [])
        if not stored_subscribers:
            continue
        profile = profiles.find(connection, account.id, each.email or "")
        stored = {} if profile is None else profile.traits
        merged = by_name(merge(by_time(stored), {each.at: each.traits}).traits)
        traits = {name: value for name, (value, _) in merged.items()}
        desired = mapping.compiled.project(
            MappingInput(traits, each.user_id, each.anonymous_id, now=each.at)
        ).values()
        count += sum(1 for subscriber in stored_subscribers if diff(desired, subscriber, mapping.catalog).send)
    return count
