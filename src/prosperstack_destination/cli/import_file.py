"""``import``: a file's rows, taken in as calls are, as fast as the database commits them."""

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
from prosperstack_destination.auth.key_rotation import load_pseudonym_key
from prosperstack_destination.auth.vault import Vault
from prosperstack_destination.cli import output
from prosperstack_destination.cli.import_estimate import Estimate, estimate
from prosperstack_destination.cli.import_report import (
    counted,
    nothing_to_import,
    print_refusals,
    print_survey,
    reasons,
    survey_facts,
)
from prosperstack_destination.cli.import_survey import Refusals, Survey, surveyed
from prosperstack_destination.cli.output import Time
from prosperstack_destination.cli.problems import confirm
from prosperstack_destination.cli.row_reader import ColumnOptions, RowParser, check_time_format, identity, rows
from prosperstack_destination.cli.row_source import InvalidRow, Row
from prosperstack_destination.cli.session import resolve_account
from prosperstack_destination.clock import system_clock
from prosperstack_destination.errors import CallError, ConfigurationError, StoreUnavailable, UnsupportedCall
from prosperstack_destination.ingest.service import to_call
from prosperstack_destination.settings import read_settings
from prosperstack_destination.store import audit_log, import_progress
from prosperstack_destination.store.accounts import Account
from prosperstack_destination.store.database import Database
from prosperstack_destination.store.import_progress import ImportProgress
from prosperstack_destination.store.models import Call, Identify, Outcome
from prosperstack_destination.vault import vault_from_settings

#: Rows in one transaction: the service's own calls come in between.
BATCH: Final = 1_000
#: A database that another process holds is asked again so often, a second apart.
ATTEMPTS: Final = 30
#: What is remembered of a row for its size, in bytes.
_ROW_BYTES: Final = 500


@dataclass(slots=True)
class ImportCounts:
    """What became of rows."""

    accepted: int = 0
    held: int = 0
    ignored: int = 0
    refusals: Refusals = field(default_factory=Refusals)


@dataclass(frozen=True, slots=True)
class ImportJob:
    """What is to be imported."""

    file: Path
    reading: ColumnOptions
    #: The file's own time, in microseconds.
    as_of: int
    account: Account
    id: str
    survey: Survey
    #: Where an import of it stands already.
    known: ImportProgress | None
    cost: Estimate

    @property
    def done(self) -> int:
        """Rows that are on disk already."""
        return 0 if self.known is None else self.known.done

    def refused_all(self, refusals: Refusals) -> bool:
        """Whether every row is refused, but for those that say nothing of a person."""
        return 0 < refusals.count == self.survey.rows - self.survey.ignored


def run(
    file: Path,
    account_name: str | None,
    reading: ColumnOptions,
    *,
    dry_run: bool,
    restart: bool,
    yes: bool,
    author: str,
    as_json: bool,
) -> bool:
    """Import a file, from where it was interrupted; False: every row was refused.

    Raises `ConfigurationError` for a file that cannot be read.
    """
    if not file.is_file():
        raise ConfigurationError(f"There is no file {file}.")
    check_time_format(reading.time_format)
    as_of = file.stat().st_mtime_ns // 1000
    return asyncio.run(_run(file, account_name, reading, as_of, dry_run, restart, yes, author, as_json))


async def _run(
    file: Path,
    account_name: str | None,
    reading: ColumnOptions,
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
        survey = surveyed(file, reading, as_of, system_clock())
        import_id = identity(file, account.id, reading)
        known = None if restart else await database.read(import_progress.find, import_id)
        cost = await database.read(estimate, account, survey, settings.rate_limit_reserve)
        order = ImportJob(file, reading, as_of, account, import_id, survey, known, cost)
        if not as_json:
            print_survey(file.name, survey, cost, order.done, as_of)
        if known is not None and known.ended_at is not None:
            _tell_done(order, as_json=as_json)
        elif dry_run or survey.good == 0:
            if as_json:
                output.print_facts(survey_facts(survey, cost, order.done), as_json=True)
        else:
            what = f"Import {counted(survey.rows - order.done)} for {account.fingerprint}."
            confirm(what, yes=yes, as_json=as_json)
            tally = await _import(database, vault, order, author)
            _report(order, tally, as_json=as_json)
            return not order.refused_all(tally.refusals)
        return not order.refused_all(survey.refusals)
    finally:
        await database.close()


def _tell_done(order: ImportJob, *, as_json: bool) -> None:
    assert order.known is not None  # noqa: S101 -- it was asked for
    if as_json:
        output.print_json({"rows": order.known.done, "refused": order.known.refused, "already_done": True})
        return
    output.console.print(
        f"This file was imported at {Time(order.known.ended_at)}, and nothing is done. --restart reads it again; "
        "what it says is merged by its times, so that nothing newer is overwritten."
    )


async def _import(database: Database, vault: Vault, order: ImportJob, author: str) -> ImportCounts:
    tally = ImportCounts()
    tally.refusals.count = 0 if order.known is None else order.known.refused
    if order.known is None:
        total, name = order.survey.rows, order.file.name
        await database.write(import_progress.begin, order.id, order.account.id, name, total, system_clock())
    understanding = RowParser(order.reading, order.as_of)
    columns = (
        TextColumn("Importing"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=order.survey.rows, completed=order.done, rate="")
        remaining = islice(enumerate(rows(order.file, order.reading.encoding), 1), order.done, None)
        while batch := list(islice(remaining, BATCH)):
            await _commit(database, vault, order, batch, understanding, tally)
            progress.advance(task, len(batch))
            progress.update(task, rate=f"{progress.tasks[task].speed or 0:,.0f}/s")
    await database.write(_end, order, author, system_clock())
    return tally


async def _commit(
    database: Database,
    vault: Vault,
    order: ImportJob,
    batch: list[tuple[int, Row | InvalidRow]],
    understanding: RowParser,
    tally: ImportCounts,
) -> None:
    """Take a batch of rows in, and note how far the import is, in one transaction."""
    before = tally.refusals.count
    now = system_clock()
    calls, numbers = [], []
    for number, call in _calls(batch, understanding, order.account, now, tally):
        numbers.append(number)
        calls.append(call)
    refused = tally.refusals.count - before
    for attempt in range(ATTEMPTS):
        try:
            taken = await database.write(
                import_progress.advance, order.id, calls, len(batch), refused, vault.pseudonym, reads_of
            )
            break
        except StoreUnavailable as error:
            if attempt == ATTEMPTS - 1:
                raise ConfigurationError(f"{error} The same command goes on from here.") from error
            await asyncio.sleep(1)
    for number, outcome in zip(numbers, taken.outcomes, strict=True):
        match outcome:
            case Outcome.ACCEPTED | Outcome.ERASED:
                tally.accepted += 1
            case Outcome.HELD:
                tally.held += 1
            case Outcome.OUTDATED:
                tally.ignored += 1
            case Outcome.UNKNOWN:
                tally.refusals.add(number, "no email, and none is known for its ids")


def _calls(
    batch: list[tuple[int, Row | InvalidRow]],
    understanding: RowParser,
    account: Account,
    now: int,
    tally: ImportCounts,
) -> Iterator[tuple[int, Call]]:
    """The calls in a batch of rows; the others are counted."""
    for number, row in batch:
        if isinstance(row, InvalidRow):
            tally.refusals.add(number, row.reason)
            continue
        try:
            understood = understanding.parse(row, now)
        except UnsupportedCall:
            tally.ignored += 1
            continue
        except CallError as error:
            tally.refusals.add(number, str(error))
            continue
        if understood is None:
            tally.ignored += 1
        else:
            call = to_call(understood, account, now, _ROW_BYTES)
            yield number, replace(call, in_bulk=True) if isinstance(call, Identify) else call


def _end(connection: Connection, order: ImportJob, author: str, now: int) -> None:
    import_progress.end(connection, order.id, now)
    details: dict[str, JsonValue] = {"file": order.file.name, "rows": order.survey.rows}
    audit_log.record(connection, order.account.id, now, actor=author, action="import", details=details)


def _report(order: ImportJob, tally: ImportCounts, *, as_json: bool) -> None:
    if as_json:
        output.print_json(
            {
                "rows": order.survey.rows,
                "accepted": tally.accepted,
                "held": tally.held,
                "ignored": tally.ignored,
                "refused": tally.refusals.count,
                "reasons": reasons(tally.refusals),
            }
        )
        return
    output.console.print(
        f"{counted(tally.accepted)} taken in, {tally.refusals.count:,} refused, {tally.ignored:,} ignored, "
        f"{tally.held:,} held. `watch` shows how far ProsperStack is."
    )
    print_refusals(tally.refusals)
    if order.refused_all(tally.refusals):
        output.console.print(nothing_to_import(order.survey), markup=False)
