"""Report of an import: the survey and cost before the confirmation, and rejected rows."""

import math

from pydantic import JsonValue

from prosperstack_destination.admin import labels
from prosperstack_destination.cli import output
from prosperstack_destination.cli.output import Cell, Time
from prosperstack_destination.file_import.survey import Estimate, Rejections, Survey
from prosperstack_destination.prosperstack.forecast import naive_seconds


def survey_facts(survey: Survey, cost: Estimate, done: int) -> dict[str, Cell]:
    """Return the facts of a survey, for scripts."""
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


def print_survey(name: str, survey: Survey, cost: Estimate, done: int, as_of: int) -> None:
    """Print a file's survey and cost. ``done`` rows are committed already; ``as_of`` is the file's time."""
    for line in _lines(name, survey, cost, done, as_of):
        output.console.print(output.visible(line), markup=False)
    if survey.good == 0:
        print_rejections(survey.rejections)
        output.console.print(nothing_to_import(survey), markup=False)


def _lines(name: str, survey: Survey, cost: Estimate, done: int, as_of: int) -> list[str]:
    people = "1 person" if survey.most_people == 1 else f"{survey.most_people:,} people"
    first = f"{name}: {row_count(survey.rows)} about {people}"
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
    lines += _times(survey, as_of)
    if survey.with_user_id == 0:
        lines.append(
            "Warning: the file has no user IDs. A later Delete call names a user ID, and would not find these "
            "people. Name the column of user IDs with --user-id."
        )
    lines += [f"Rejected: row {number:,}: {reason}" for number, reason in survey.rejections.first[:3]]
    return [*lines, *_costs(survey, cost)]


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
