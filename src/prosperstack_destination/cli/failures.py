"""``failures``: the people and erasures whose delivery failed, with the reason and the next attempt."""

from sqlalchemy import Connection

from prosperstack_destination.cli import output
from prosperstack_destination.cli.output import Cell, Time
from prosperstack_destination.cli.session import read, resolve_account
from prosperstack_destination.clock import system_clock
from prosperstack_destination.store import profile_queries, remote_erasures
from prosperstack_destination.store.models import Status


def list_failures(account_name: str | None, limit: int, *, as_json: bool) -> None:
    """Print what failed in an account: up to ``limit`` of each kind."""
    columns = ["Kind", "Who", "Reason", "Next attempt"]
    nothing = "No failures: ProsperStack took everything that was sent, or has not been asked yet (`status`)."
    rows = read(lambda connection: _failures(connection, account_name, limit))
    output.print_rows(columns, rows, as_json=as_json, nothing=nothing)


def _failures(connection: Connection, account_name: str | None, limit: int) -> list[list[Cell]]:
    account_id = resolve_account(connection, account_name).id
    rejected = profile_queries.listed(
        connection, account_id, after="", limit=limit, statuses=[Status.SET_ASIDE]
    ).profiles
    people: list[list[Cell]] = [
        [kind, each.email, each.status_reason, Time(each.due_at)]
        for kind, found in (
            ("waiting", profile_queries.failed(connection, account_id, limit)),
            ("email rejected", rejected),
        )
        for each in found
    ]
    erasures: list[list[Cell]] = [
        ["erasure", each.clearing.subscriber_id, each.clearing.reason, Time(each.due_at)]
        for each in remote_erasures.failed(connection, account_id, system_clock(), limit)
    ]
    return people + erasures
