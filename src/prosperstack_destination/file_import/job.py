"""Import job: the rows of a file are committed as calls, in batches, and an interrupted job is resumed."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Final

from pydantic import JsonValue
from sqlalchemy import Connection

from prosperstack_destination.account_mapping import reads_of
from prosperstack_destination.clock import Clock
from prosperstack_destination.errors import CallError, InvalidInput, StoreUnavailable, UnsupportedCall
from prosperstack_destination.file_import.row_parser import (
    ColumnOptions,
    RowParser,
    check_time_format,
    identity,
    rows,
)
from prosperstack_destination.file_import.source import InvalidRow, Row
from prosperstack_destination.file_import.survey import Estimate, Rejections, Survey, estimate, survey_file
from prosperstack_destination.ingest.service import call_rules_of, to_call
from prosperstack_destination.store import activity, import_progress
from prosperstack_destination.store.accounts import Account
from prosperstack_destination.store.database import UnitOfWork
from prosperstack_destination.store.import_progress import ImportProgress
from prosperstack_destination.store.models import Call, Identify, Outcome
from prosperstack_destination.store.pseudonyms import Pseudonym

#: Rows in one transaction. Calls to the service are committed between two batches.
BATCH: Final = 1_000
#: Attempts to commit a batch while the database is unavailable, one second apart.
ATTEMPTS: Final = 30
#: Size that is recorded for a row, in bytes.
_ROW_BYTES: Final = 500


@dataclass(slots=True)
class ImportCounts:
    """Results of the imported rows."""

    accepted: int = 0
    held: int = 0
    ignored: int = 0
    rejections: Rejections = field(default_factory=Rejections)


@dataclass(frozen=True, slots=True)
class ImportJob:
    """A file to import, with its survey and its progress."""

    file: Path
    columns: ColumnOptions
    #: Modification time of the file, in microseconds.
    as_of: int
    account: Account
    id: str
    survey: Survey
    #: Progress of an earlier import of the same file; None without one.
    progress: ImportProgress | None
    cost: Estimate

    @property
    def is_finished(self) -> bool:
        """True if the file was imported before, to its end."""
        return self.progress is not None and self.progress.ended_at is not None

    @property
    def done(self) -> int:
        """Number of rows that are committed already."""
        return 0 if self.progress is None else self.progress.done

    def rejects_all(self, rejections: Rejections) -> bool:
        """Return True if every row is rejected, apart from ignored ones."""
        return 0 < rejections.count == self.survey.rows - self.survey.ignored


def check_file(file: Path, columns: ColumnOptions) -> None:
    """Raise `InvalidInput` for a file that does not exist, and for an invalid format of times."""
    if not file.is_file():
        raise InvalidInput(f"There is no file {file}.")
    check_time_format(columns.time_format)


async def prepare(
    database: UnitOfWork,
    account: Account,
    file: Path,
    columns: ColumnOptions,
    clock: Clock,
    reserve: float,
    *,
    restart: bool = False,
) -> ImportJob:
    """Survey a file, and return its job; nothing is committed.

    ``restart``: begin at the first row, even if the file was imported before. ``reserve``: see `estimate`. Raises
    `InvalidInput` for a file that cannot be read.
    """
    as_of = file.stat().st_mtime_ns // 1000  # noqa: ASYNC240 -- reading the file blocks as well
    survey = survey_file(file, columns, as_of, clock())
    import_id = identity(file, account.id, columns)
    progress = None if restart else await database.read(import_progress.find, import_id)
    cost = await database.read(estimate, account, survey, reserve)
    return ImportJob(file, columns, as_of, account, import_id, survey, progress, cost)


async def run(
    database: UnitOfWork,
    pseudonym: Pseudonym,
    job: ImportJob,
    actor: str,
    clock: Clock,
    on_progress: Callable[[int], None],
) -> ImportCounts:
    """Commit the rows that are not committed yet. ``on_progress`` is called with the size of each batch.

    Raises `InvalidInput` if the database stays unavailable.
    """
    counts = ImportCounts()
    counts.rejections.count = 0 if job.progress is None else job.progress.refused
    if job.progress is None:
        total, name = job.survey.rows, job.file.name
        await database.write(import_progress.begin, job.id, job.account.id, name, total, clock())
    parser = RowParser(job.columns, job.as_of, call_rules_of(job.account))
    remaining = islice(enumerate(rows(job.file, job.columns.encoding), 1), job.done, None)
    while batch := list(islice(remaining, BATCH)):
        await _commit(database, pseudonym, job, batch, parser, counts, clock())
        on_progress(len(batch))
    await database.write(_end, job, actor, clock())
    return counts


async def _commit(
    database: UnitOfWork,
    pseudonym: Pseudonym,
    job: ImportJob,
    batch: list[tuple[int, Row | InvalidRow]],
    parser: RowParser,
    counts: ImportCounts,
    now: int,
) -> None:
    """Commit a batch of rows and the progress of the import in one transaction.

    Raises `InvalidInput` if the database stays unavailable.
    """
    before = counts.rejections.count
    calls, numbers = [], []
    for number, call in _calls(batch, parser, job.account, now, counts):
        numbers.append(number)
        calls.append(call)
    rejected = counts.rejections.count - before
    for attempt in range(ATTEMPTS):
        try:
            taken = await database.write(
                import_progress.advance, job.id, calls, len(batch), rejected, pseudonym, reads_of
            )
            break
        except StoreUnavailable as error:
            if attempt == ATTEMPTS - 1:
                raise InvalidInput(f"{error} Committed rows are kept: run the command again to resume.") from error
            await asyncio.sleep(1)
    for number, outcome in zip(numbers, taken.outcomes, strict=True):
        match outcome:
            case Outcome.ACCEPTED | Outcome.ERASED:
                counts.accepted += 1
            case Outcome.HELD:
                counts.held += 1
            case Outcome.OUTDATED:
                counts.ignored += 1
            case Outcome.UNKNOWN:
                counts.rejections.add(number, "no email, and no known email for its IDs")


def _calls(
    batch: list[tuple[int, Row | InvalidRow]],
    parser: RowParser,
    account: Account,
    now: int,
    counts: ImportCounts,
) -> Iterator[tuple[int, Call]]:
    """Yield the calls of a batch with their row numbers, and count rejected and ignored rows."""
    for number, row in batch:
        if isinstance(row, InvalidRow):
            counts.rejections.add(number, row.reason)
            continue
        try:
            parsed = parser.parse(row, now)
        except UnsupportedCall:
            counts.ignored += 1
            continue
        except CallError as error:
            counts.rejections.add(number, str(error))
            continue
        if parsed is None:
            counts.ignored += 1
        else:
            call = to_call(parsed, account, now, _ROW_BYTES)
            yield number, replace(call, in_bulk=True) if isinstance(call, Identify) else call


def _end(connection: Connection, job: ImportJob, author: str, now: int) -> None:
    import_progress.end(connection, job.id, now)
    details: dict[str, JsonValue] = {"file": job.file.name, "rows": job.survey.rows}
    activity.record_action(connection, job.account.id, now, actor=author, action="import", details=details)
