"""Commands that show the state of the service, its problems and its failures."""

from typing import Annotated

import typer

from prosperstack_destination.cli.options import Account, Json

_Times = Annotated[int | None, typer.Option(min=1, help="Stop after this many updates.")]


def status(
    count: Annotated[
        bool, typer.Option("--count", help="Count the profiles of each status, which takes longer.")
    ] = False,
    json: Json = False,
) -> None:
    """Show each account: status, backlog, rate, time left, and remaining requests."""
    from prosperstack_destination.cli.status import status

    status(count=count, as_json=json)


def watch(
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two updates.")] = 1.0,
    times: _Times = None,
    json: Json = False,
) -> None:
    """Show the status live, until interrupted."""
    from prosperstack_destination.cli.status import watch

    watch(every=every, times=times, as_json=json)


def events(
    account: Account = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Number of events.")] = 20,
    email: Annotated[str | None, typer.Option("--email", help="Only events of this person.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Continue with new events.")] = False,
    times: _Times = None,
    json: Json = False,
) -> None:
    """Show recent activity: calls, deliveries, failed requests, cancel flows."""
    from prosperstack_destination.cli.events import tail

    tail(account, limit=limit, email=email, follow=follow, times=times, as_json=json)


def problems(account: Account = None, json: Json = False) -> None:
    """Show the values that cannot be delivered, grouped by property and reason."""
    from prosperstack_destination.cli.problems import list_problems

    list_problems(account, as_json=json)


def failures(
    account: Account = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Number of rows of each kind.")] = 100,
    json: Json = False,
) -> None:
    """Show failed deliveries of people and erasures: the reason and the next attempt."""
    from prosperstack_destination.cli.problems import list_failures

    list_failures(account, limit, as_json=json)


def doctor(
    offline: Annotated[bool, typer.Option("--offline", help="Ask neither ProsperStack nor the service.")] = False,
    after_restore: Annotated[
        bool, typer.Option("--after-restore", help="Say what has to be repeated after a backup was restored.")
    ] = False,
    json: Json = False,
) -> None:
    """Check everything that the service needs, and print advice. It costs one request for each account."""
    from prosperstack_destination.cli.doctor import run

    if not run(offline=offline, after_restore=after_restore, as_json=json):
        raise typer.Exit(1)


def simulate(
    people: Annotated[int, typer.Argument(min=1, help="Number of people who enter the audience.")],
    account: Account = None,
    matching: Annotated[float, typer.Option(min=0, max=1, help="Share of them who are subscribers.")] = 1.0,
    changed: Annotated[
        float, typer.Option(min=0, max=1, help="Share of those subscribers whose values differ.")
    ] = 1.0,
    subscribers: Annotated[int | None, typer.Option(min=0, help="Number of subscribers of the account.")] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Requests in a window. Default: the limit that ProsperStack reported.")
    ] = None,
    json: Json = False,
) -> None:
    """Estimate the time of a first sync, before you turn it on in Engage."""
    from prosperstack_destination.cli.simulate import run

    run(
        people,
        account,
        matching=matching,
        changed=changed,
        subscribers=subscribers,
        limit=limit,
        as_json=json,
    )


def add_to(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    for command in (status, watch, events, problems, failures, doctor, simulate):
        app.command()(command)
