"""Implementation of `import`: commit the rows of a file as calls, in batches."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Final

from pydantic import JsonValue
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from sqlalchemy import Connection

from prosperstack_destination.account_mapping import reads_of
from prosperstack_destination.auth.vault import Vault, load_pseudonym_key
from prosperstack_destination.cli import output
from prosperstack_destination.cli.import_report import (
    nothing_to_import,
    print_rejections,
    print_survey,
    reasons,
    row_count,
    survey_facts,
)
from prosperstack_destination.cli.output import Time
from prosperstack_destination.cli.session import confirm, resolve_account
from prosperstack_destination.clock import system_clock
from prosperstack_destination.errors import CallError, ConfigurationError, StoreUnavailable, UnsupportedCall
from prosperstack_destination.file_import.row_parser import (
    ColumnOptions,
    RowParser,
    check_time_format,
    identity,
    rows,
)
from prosperstack_destination.file_import.source import InvalidRow, Row
from prosperstack_destination.file_import.survey import Estimate, Rejections, Survey, estimate, survey_file
from prosperstack_destination.ingest.service import to_call
from prosperstack_destination.settings import read_settings
from prosperstack_destination.store import activity, import_progress
from prosperstack_destination.store.accounts import Account
from prosperstack_destination.store.database import Database
from prosperstack_destination.store.import_progress import ImportProgress
from prosperstack_destination.store.models import Call, Identify, Outcome
from prosperstack_destination.vault import vault_from_settings

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
    def done(self) -> int:
        """Number of rows that are committed already."""
        return 0 if self.progress is None else self.progress.done

    def rejects_all(self, rejections: Rejections) -> bool:
        """Return True if every row is rejected, apart from ignored ones."""
        return 0 < rejections.count == self.survey.rows - self.survey.ignored


def run(
    file: Path,
    account_name: str | None,
    columns: ColumnOptions,
    *,
    dry_run: bool,
    restart: bool,
    yes: bool,
    author: str,
    as_json: bool,
) -> bool:
    """Import a file, and resume an interrupted import; return False if every row is rejected.

    Raises `ConfigurationError` for a file that cannot be read.
    """
    if not file.is_file():
        raise ConfigurationError(f"There is no file {file}.")
    check_time_format(columns.time_format)
    as_of = file.stat().st_mtime_ns // 1000
    return asyncio.run(_run(file, account_name, columns, as_of, dry_run, restart, yes, author, as_json))


async def _run(
    file: Path,
    account_name: str | None,
    columns: ColumnOptions,
    as_of: int,
    dry_run: bool,
    restart: bool,
    yes: bool,
    author: str,
    as_json: bool,
) -> bool:
    settings = read_settings()
    vault = vault_from_settings(settings)
    database = Database(settings.effective_database_url)
    await database.open()
    try:
        await database.read(load_pseudonym_key, vault)
        account = await database.read(resolve_account, account_name)
        survey = survey_file(file, columns, as_of, system_clock())
        import_id = identity(file, account.id, columns)
        progress = None if restart else await database.read(import_progress.find, import_id)
        cost = await database.read(estimate, account, survey, settings.rate_limit_reserve)
        job = ImportJob(file, columns, as_of, account, import_id, survey, progress, cost)
        if not as_json:
            print_survey(file.name, survey, cost, job.done, as_of)
        if progress is not None and progress.ended_at is not None:
            _report_done(job, as_json=as_json)
        elif dry_run or survey.good == 0:
            if as_json:
                output.print_facts(survey_facts(survey, cost, job.done), as_json=True)
        else:
            confirm(
                f"Import {row_count(survey.rows - job.done)} for {account.fingerprint}.", yes=yes, as_json=as_json
            )
            counts = await _import(database, vault, job, author)
            _report(job, counts, as_json=as_json)
            return not job.rejects_all(counts.rejections)
        return not job.rejects_all(survey.rejections)
    finally:
        await database.close()


def _report_done(job: ImportJob, *, as_json: bool) -> None:
    assert job.progress is not None  # noqa: S101 -- the caller checks it
    if as_json:
        output.print_json({"rows": job.progress.done, "refused": job.progress.refused, "already_done": True})
        return
    output.console.print(
        f"Nothing to import: this file was imported at {Time(job.progress.ended_at)} UTC. To import it again, add "
        "--restart. Values are merged by their times, so newer values stay."
    )


async def _import(database: Database, vault: Vault, job: ImportJob, author: str) -> ImportCounts:
    counts = ImportCounts()
    counts.rejections.count = 0 if job.progress is None else job.progress.refused
    if job.progress is None:
        total, name = job.survey.rows, job.file.name
        await database.write(import_progress.begin, job.id, job.account.id, name, total, system_clock())
    parser = RowParser(job.columns, job.as_of)
    bar = (
        TextColumn("Importing"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*bar, console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=job.survey.rows, completed=job.done, rate="")
        remaining = islice(enumerate(rows(job.file, job.columns.encoding), 1), job.done, None)
        while batch := list(islice(remaining, BATCH)):
            await _commit(database, vault, job, batch, parser, counts)
            progress.advance(task, len(batch))
            progress.update(task, rate=f"{progress.tasks[task].speed or 0:,.0f}/s")
    await database.write(_end, job, author, system_clock())
    return counts


async def _commit(
    database: Database,
    vault: Vault,
    job: ImportJob,
    batch: list[tuple[int, Row | InvalidRow]],
    parser: RowParser,
    counts: ImportCounts,
) -> None:
    """Commit a batch of rows and the progress of the import in one transaction.

    Raises `ConfigurationError` if the database stays unavailable.
    """
    before = counts.rejections.count
    now = system_clock()
    calls, numbers = [], []
    for number, call in _calls(batch, parser, job.account, now, counts):
        numbers.append(number)
        calls.append(call)
    rejected = counts.rejections.count - before
    for attempt in range(ATTEMPTS):
        try:
            taken = await database.write(
                import_progress.advance, job.id, calls, len(batch), rejected, vault.pseudonym, reads_of
            )
            break
        except StoreUnavailable as error:
            if attempt == ATTEMPTS - 1:
                raise ConfigurationError(
                    f"{error} Committed rows are kept: run the command again to resume."
                ) from error
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


def _report(job: ImportJob, counts: ImportCounts, *, as_json: bool) -> None:
    if as_json:
        output.print_json(
            {
                "rows": job.survey.rows,
                "accepted": counts.accepted,
                "held": counts.held,
                "ignored": counts.ignored,
                "refused": counts.rejections.count,
                "reasons": reasons(counts.rejections),
            }
        )
        return
    output.console.print(
        f"Imported {row_count(counts.accepted)}; {counts.rejections.count:,} rejected, {counts.ignored:,} ignored, "
        f"{counts.held:,} held until their email is known. `watch` shows the delivery."
    )
    print_rejections(counts.rejections)
    if job.rejects_all(counts.rejections):
        output.console.print(nothing_to_import(job.survey), markup=False)
