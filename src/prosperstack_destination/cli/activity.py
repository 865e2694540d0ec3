"""Commands that show recent activity, problems and failures."""

import time
from collections.abc import Iterable
from typing import Annotated, Final

import typer
from pydantic import JsonValue
from rich.markup import escape

from prosperstack_destination.admin import people
from prosperstack_destination.admin import problems as problem_queries
from prosperstack_destination.cli import output, session
from prosperstack_destination.cli.output import Cell, Time
from prosperstack_destination.cli.session import Account, Json
from prosperstack_destination.clock import system_clock
from prosperstack_destination.store.activity import Event

app = typer.Typer()

#: Pause between two queries of `--follow`, in seconds.
FOLLOW_SECONDS: Final = 1.0


@app.command()
def events(
    account: Account = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Number of events.")] = 20,
    email: Annotated[str | None, typer.Option("--email", help="Only events of this person.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Continue with new events.")] = False,
    times: Annotated[int | None, typer.Option(min=1, help="Stop after this many updates.")] = None,
    json: Json = False,
) -> None:
    """Show recent activity: calls, deliveries, failed requests, cancel flows."""
    vault = session.load_vault()
    after = queries = 0
    while True:
        batch, after = session.read_account(
            account, people.latest_events, vault, limit=limit, after=after, email=email
        )
        _print(batch, as_json=json)
        queries += 1
        if not follow or (times is not None and queries >= times):
            return
        time.sleep(FOLLOW_SECONDS)


@app.command()
def problems(account: Account = None, json: Json = False) -> None:
    """Show the values that cannot be delivered, grouped by property and reason."""
    rows: list[list[Cell]] = [
        [
            each.property,
            ", ".join(sorted({sample.trait for sample in each.samples})),
            each.count,
            each.reason,
            [sample.value for sample in each.samples],
            Time(each.since),
        ]
        for each in session.read_account(account, problem_queries.list_groups)
    ]
    columns = ["Property", "Traits", "People", "Reason", "Samples", "Since"]
    nothing = "No problems: the value of every mapped trait fits its property."
    output.print_rows(columns, rows, as_json=json, nothing=nothing)
    if not json and (summary := session.read_account(account, problem_queries.summarize_failures)):
        output.console.print(f"{summary}: `failures` lists them.", markup=False)


@app.command()
def failures(
    account: Account = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Number of rows of each kind.")] = 100,
    json: Json = False,
) -> None:
    """Show failed deliveries of people and erasures: the reason and the next attempt."""
    found = session.read_account(account, problem_queries.list_failures, system_clock(), limit)
    kinds = (("waiting", found.waiting), ("email rejected", found.rejected.profiles))
    rows: list[list[Cell]] = [
        [kind, each.email, each.status_reason, Time(each.due_at)] for kind, profiles in kinds for each in profiles
    ]
    for failed in found.erasures:
        rows.append(["erasure", failed.erasure.subscriber_id, failed.erasure.reason, Time(failed.due_at)])
    nothing = "No failures: ProsperStack accepted every update so far. `status` shows waiting updates."
    output.print_rows(["Kind", "Who", "Reason", "Next attempt"], rows, as_json=json, nothing=nothing)


def _print(batch: Iterable[Event], *, as_json: bool) -> None:
    for each in batch:
        if as_json:
            print(output.one_line(_facts(each)), flush=True)
            continue
        details = ", ".join(f"{name}: {output.format_cell(value)}" for name, value in each.details.items())
        person = "" if each.subject is None else f"person {each.subject}"
        kind = f"{each.kind.value:<11}  [bold]{escape(output.visible(each.outcome)):<12}[/bold]"
        output.console.print(f"{Time(each.at)}  {kind}  {person:<19}  {escape(details)}")


def _facts(event: Event) -> JsonValue:
    return {
        "at": Time(event.at).iso,
        "kind": event.kind.value,
        "outcome": event.outcome,
        "person": event.subject,
        **event.details,
    }
