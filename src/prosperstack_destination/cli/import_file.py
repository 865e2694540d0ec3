"""Command that imports a file of people or of calls, and its report."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from pydantic import JsonValue
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from prosperstack_destination.admin import labels
from prosperstack_destination.admin.accounts import resolve
from prosperstack_destination.admin.database import opened
from prosperstack_destination.cli import output, session
from prosperstack_destination.cli.output import Cell, Time
from prosperstack_destination.cli.session import Account, Author, Json, Yes
from prosperstack_destination.clock import system_clock
from prosperstack_destination.file_import import job as imports
from prosperstack_destination.file_import.job import ImportCounts, ImportJob
from prosperstack_destination.file_import.row_parser import ColumnOptions
from prosperstack_destination.file_import.survey import Estimate, Rejections, Survey
from prosperstack_destination.prosperstack.forecast import naive_seconds
from prosperstack_destination.settings import read_settings
from prosperstack_destination.store.database import UnitOfWork

app = typer.Typer()


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="CSV, JSONL, JSON (also with .gz) or Parquet file.")],
    account: Account = None,
    email: Annotated[str | None, typer.Option(help="Column of emails. Default: found by its name.")] = None,
    user_id: Annotated[str | None, typer.Option(help="Column of user IDs. Default: found by its name.")] = None,
    time: Annotated[str | None, typer.Option(help="Column of event times. Default: found by its name.")] = None,
    time_format: Annotated[
        str | None,
        typer.Option(metavar="FORM", help="Format of times that are not ISO 8601, e.g. '%d/%m/%Y %H:%M'."),
    ] = None,
    encoding: Annotated[
        str | None, typer.Option(help="Encoding of a file that is not UTF-8, as windows-1252.")
    ] = None,
    rename: Annotated[
        list[str] | None, typer.Option("--map", metavar="COLUMN=TRAIT", help="Trait name for a column; repeatable.")
    ] = None,
    skip: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN", help="Column to leave out; repeatable.")
    ] = None,
    empty: Annotated[bool, typer.Option("--empty-deletes", help="Empty cells delete the value.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the cost, and import nothing.")] = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="Start at the first row, even if the file was imported before.")
    ] = False,
    yes: Yes = False,
    author: Author = "unknown",
    json: Json = False,
) -> None:
    """Import a file of people or of Segment calls. It shows the cost first, and resumes an interrupted import."""
    columns = ColumnOptions(
        email=email,
        user_id=user_id,
        time=time,
        time_format=time_format,
        encoding=encoding,
        renames=_renames(rename or []),
        skip=frozenset(skip or []),
        empty_deletes=empty,
    )
    imports.check_file(file, columns)
    pseudonym = session.load_vault(opened).pseudonym

    async def work(database: UnitOfWork) -> bool:
        found = await database.read(resolve, account)
        reserve = read_settings().rate_limit_reserve
        job = await imports.prepare(database, found, file, columns, system_clock, reserve, restart=restart)
        if not json:
            print_survey(job)
        if job.is_finished:
            _report_finished(job, as_json=json)
        elif dry_run or job.survey.good == 0:
            if json:
                output.print_facts(survey_facts(job), as_json=True)
        else:
            session.confirm(
                f"Import {row_count(job.survey.rows - job.done)} for {found.fingerprint}.", yes=yes, as_json=json
            )
            with _progress_bar(job) as advance:
                counts = await imports.run(database, pseudonym, job, author, system_clock, advance)
            _report(job, counts, as_json=json)
            return job.rejects_all(counts.rejections)
        return job.rejects_all(job.survey.rejections)

    if session.run(work):
        raise typer.Exit(1)


def _renames(options: list[str]) -> tuple[tuple[str, str], ...]:
    pairs = [each.partition("=") for each in options]
    if any(not (separator and column and trait) for column, separator, trait in pairs):
        raise typer.BadParameter("it has to be COLUMN=TRAIT", param_hint="--map")
    return tuple((column, trait) for column, _, trait in pairs)


@contextmanager
def _progress_bar(job: ImportJob) -> Iterator[Callable[[int], None]]:
    """Show a progress bar, and yield the function that advances it."""
    columns = (
        TextColumn("Importing"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=job.survey.rows, completed=job.done, rate="")

        def advance(count: int) -> None:
            progress.advance(task, count)
            progress.update(task, rate=f"{progress.tasks[task].speed or 0:,.0f}/s")

        yield advance


def _report_finished(job: ImportJob, *, as_json: bool) -> None:
    assert job.progress is not None  # noqa: S101 -- the caller checks it
    if as_json:
        output.print_json({"rows": job.progress.done, "refused": job.progress.refused, "already_done": True})
        return
    output.console.print(
        f"Nothing to import: this file was imported at {Time(job.progress.ended_at)} UTC. To import it again, add "
        "--restart. Values are merged by their times, so newer values stay."
    )


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


def survey_facts(job: ImportJob) -> dict[str, Cell]:
    """Return the facts of a survey, for scripts."""
    survey, cost, done = job.survey, job.cost, job.done
    example = survey.time_example
    return {
        "Rows": survey.rows,
        "Done already": done,
        "Unreadable": survey.unreadable,
        "Refused": survey.rejections.count,
        "Ignored": survey.ignored,
        "Deletions": survey.deletions,
        "Reasons": reasons(survey.rejections),
        "People": survey.most_people,
        "Email columns": list(survey.email_columns),
        "User ID columns": list(survey.user_id_columns),
        "Rows with user ID": survey.with_user_id,
        "Time example": None
        if example is None
        else {
            "row": example.row,
            "column": example.column,
            "value": example.value,
            "understood": Time(example.at).iso,
        },
        "Unreadable times": survey.unreadable_times,
        "Rows without time": survey.without_time,
        "Requests": None if cost.likely is None else cost.likely.requests,
        "Seconds": None if cost.likely is None else math.ceil(cost.likely.seconds),
        "Most requests": cost.most.requests,
        "Most seconds": math.ceil(cost.most.seconds),
    }


def print_survey(job: ImportJob) -> None:
    """Print a file's survey and cost."""
    survey = job.survey
    for line in _lines(job):
        output.console.print(output.visible(line), markup=False)
    if survey.good == 0:
        print_rejections(survey.rejections)
        output.console.print(nothing_to_import(survey), markup=False)


def _lines(job: ImportJob) -> list[str]:
    survey, done = job.survey, job.done
    people = "1 person" if survey.most_people == 1 else f"{survey.most_people:,} people"
    first = f"{job.file.name}: {row_count(survey.rows)} about {people}"
    first += f"; {survey.deletions:,} Delete calls, each of which erases a person" if survey.deletions else ""
    first += f"; {row_count(done)} imported already" if done else ""
    first += f"; {survey.ignored:,} ignored, which have no data of a person" if survey.ignored else ""
    first += f"; {survey.rejections.count:,} rejected" if survey.rejections.count else ""
    lines = [f"{first}."]
    if survey.good == 0:
        return lines
    columns = [
        *(f"email from {column!r}" for column in survey.email_columns),
        *(f"user ID from {column!r}" for column in survey.user_id_columns),
    ]
    lines += [f"Columns: {', '.join(columns)}."] if columns else []
    lines += _times(survey, job.as_of)
    if survey.with_user_id == 0:
        lines.append(
            "Warning: the file has no user IDs. A later Delete call names a user ID, and would not find these "
            "people. Name the column of user IDs with --user-id."
        )
    lines += [f"Rejected: row {number:,}: {reason}" for number, reason in survey.rejections.first[:3]]
    return [*lines, *_costs(survey, job.cost)]


def _times(survey: Survey, as_of: int) -> list[str]:
    lines = []
    example = survey.time_example
    if example is not None:
        lines.append(
            f"Times: row {example.row:,} has {example.value!r} in {example.column!r}, read as "
            f"{Time(example.at)} UTC."
        )
    if survey.without_time:
        which = "every row" if example is None else f"{row_count(survey.without_time)} without a time"
        lines.append(
            f"Times: {Time(as_of)} UTC, the time of the file, for {which}. If a column has times, name it with "
            "--time."
        )
    if survey.first_bad_time is not None:
        number, error = survey.first_bad_time
        lines.append(
            f"Invalid times: {row_count(survey.unreadable_times)}, the first in row {number:,} with "
            f"{error.value!r} in {error.column!r}."
        )
    return lines


def _costs(survey: Survey, cost: Estimate) -> list[str]:
    rate = f"at {cost.rate.limit:,} in {cost.rate.window_seconds:g} s"
    naive = labels.span(naive_seconds(survey.good, cost.rate))
    most = f"{cost.most.requests:,} requests to ProsperStack, {labels.span(cost.most.seconds)} {rate}"
    comparison = f"(a plain forwarder would take {naive})"
    if cost.likely is None:
        return [
            f"Cost: at most {most} {comparison}. People who are not subscribers, or who are up to date, cost no "
            "update. Live calls go first."
        ]
    return [
        f"Cost: about {cost.likely.requests:,} requests, {labels.span(cost.likely.seconds)}, estimated from the "
        f"stored subscribers; at most {most} {comparison}. Live calls go first."
    ]


def nothing_to_import(survey: Survey) -> str:
    """Return the reason why a file has nothing to import, and advice."""
    if survey.ignored == survey.rows:
        return "Nothing to import: no row is an Identify call."
    if survey.columns:
        columns = ", ".join(list(survey.columns)[:30])
        return (
            "Nothing to import: every row is rejected. If another column has the emails, name it with --email "
            f"COLUMN; the file has {columns}."
        )
    return "Nothing to import: every row is rejected."


def print_rejections(rejections: Rejections) -> None:
    """Print the first rejected rows with their reasons."""
    for number, reason in rejections.first:
        output.console.print(f"  Row {number:,}: {output.visible(reason)}", markup=False)


def reasons(rejections: Rejections) -> list[JsonValue]:
    """Return the first rejected rows with their reasons, for scripts."""
    return [{"row": number, "reason": reason} for number, reason in rejections.first]


def row_count(count: int) -> str:
    """Return a number of rows in words."""
    return "1 row" if count == 1 else f"{count:,} rows"
