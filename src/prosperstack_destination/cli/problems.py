"""Implementation of `problems` and `failures`: values and deliveries that need attention."""

from sqlalchemy import Connection

from prosperstack_destination.cli import output
from prosperstack_destination.cli.output import Cell, Time
from prosperstack_destination.cli.session import read, resolve_account
from prosperstack_destination.clock import system_clock
from prosperstack_destination.store import account_stats, problems, profile_queries, remote_erasures
from prosperstack_destination.store.models import Status
from prosperstack_destination.store.problems import ProblemGroup


def list_problems(account_name: str | None, *, as_json: bool) -> None:
    """Print an account's mapping problems, grouped by property and reason."""

    def work(connection: Connection) -> tuple[list[ProblemGroup], str]:
        account_id = resolve_account(connection, account_name).id
        return problems.grouped(connection, account_id), account_stats.failures(connection, account_id).summary

    groups, failures = read(work)
    rows: list[list[Cell]] = [
        [
            each.property,
            ", ".join(sorted({sample.trait for sample in each.samples})),
            each.count,
            each.reason,
            [sample.value for sample in each.samples],
            Time(each.since),
        ]
        for each in groups
    ]
    columns = ["Property", "Traits", "People", "Reason", "Samples", "Since"]
    nothing = "No problems: the value of every mapped trait fits its property."
    output.print_rows(columns, rows, as_json=as_json, nothing=nothing)
    if failures and not as_json:
        output.console.print(f"{failures}: `failures` lists them.", markup=False)


def list_failures(account_name: str | None, limit: int, *, as_json: bool) -> None:
    """Print an account's failed deliveries, up to ``limit`` of each kind."""
    columns = ["Kind", "Who", "Reason", "Next attempt"]
    nothing = "No failures: ProsperStack accepted every update so far. `status` shows waiting updates."
    rows = read(lambda connection: _failures(connection, account_name, limit))
    output.print_rows(columns, rows, as_json=as_json, nothing=nothing)


def _failures(connection: Connection, account_name: str | None, limit: int) -> list[list[Cell]]:
    account_id = resolve_account(connection, account_name).id
    rejected = profile_queries.list_page(
        connection, account_id, after="", limit=limit, statuses=[Status.REJECTED]
    ).profiles
    people: list[list[Cell]] = [
        [kind, each.email, each.status_reason, Time(each.due_at)]
        for kind, profiles in (
            ("waiting", profile_queries.failed(connection, account_id, limit)),
            ("email rejected", rejected),
        )
        for each in profiles
    ]
    erasures: list[list[Cell]] = [
        ["erasure", each.erasure.subscriber_id, each.erasure.reason, Time(each.due_at)]
        for each in remote_erasures.failed(connection, account_id, system_clock(), limit)
    ]
    return people + erasures
