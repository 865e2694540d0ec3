"""Watching the service, mending what it cannot mend by itself, and bringing people in and out."""

from pathlib import Path
from typing import Annotated

import typer

from prosperstack_destination.cli.options import Account, Author, Json

_Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
_Times = Annotated[int | None, typer.Option(min=1, help="Stop after so many looks.")]
_Email = Annotated[str | None, typer.Option("--email", help="Only this person.")]
_Column = Annotated[str | None, typer.Option(help="The column it stands in; else found by its name.")]


def add_to(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    for command in (
        password,
        status,
        watch,
        profile,
        events,
        problems,
        failures,
        retry,
        replay,
        erase,
        doctor,
        simulate,
        reencrypt,
    ):
        app.command()(command)
    app.command("import")(import_)


def password(json: Json = False) -> None:
    """Print the password of the dashboard, where none is set and one was made."""
    from prosperstack_destination.cli.password import show

    show(as_json=json)


def status(
    count: Annotated[bool, typer.Option("--count", help="Count profiles by status, which takes longer.")] = False,
    json: Json = False,
) -> None:
    """Show how the accounts stand: backlog, rate, when it is done, what is left of the request budget."""
    from prosperstack_destination.cli.status import status

    status(count=count, as_json=json)


def watch(
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks.")] = 1.0,
    times: _Times = None,
    json: Json = False,
) -> None:
    """Show the same live, until interrupted."""
    from prosperstack_destination.cli.status import watch

    watch(every=every, times=times, as_json=json)


def profile(
    who: Annotated[str, typer.Argument(metavar="EMAIL", help="The email, or a user id with --user-id.")],
    account: Account = None,
    user_id: Annotated[bool, typer.Option("--user-id", help="It is a user id.")] = False,
    json: Json = False,
) -> None:
    """Show everything that is known of one person: traits, desired, observed and applied properties."""
    from prosperstack_destination.cli.profile import show

    show(account, who, by_user_id=user_id, as_json=json)


def events(
    account: Account = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 20,
    email: _Email = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as they come.")] = False,
    times: _Times = None,
    json: Json = False,
) -> None:
    """Show what happened lately: calls, deliveries, failed requests, cancel flows."""
    from prosperstack_destination.cli.events import tail

    tail(account, limit=limit, email=email, follow=follow, times=times, as_json=json)


def problems(account: Account = None, json: Json = False) -> None:
    """Show what cannot be delivered, and why, grouped."""
    from prosperstack_destination.cli.problems import list_problems

    list_problems(account, as_json=json)


def failures(
    account: Account = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many of each kind.")] = 100,
    json: Json = False,
) -> None:
    """Show the people and erasures whose delivery failed: the reason, and the next attempt."""
    from prosperstack_destination.cli.failures import list_failures

    list_failures(account, limit, as_json=json)


def retry(account: Account = None, email: _Email = None, author: Author = "unknown", json: Json = False) -> None:
    """Look now at everybody with a problem, or at one person, and try an account that waits."""
    from prosperstack_destination.cli.problems import retry

    retry(account, email, author, as_json=json)


def replay(
    account: Account = None,
    email: _Email = None,
    yes: _Yes = False,
    author: Author = "unknown",
    json: Json = False,
) -> None:
    """Compare everything stored with ProsperStack anew, and write what differs; it says what that costs first."""
    from prosperstack_destination.cli.problems import replay

    replay(account, email, author, yes=yes, as_json=json)


def erase(
    who: Annotated[str, typer.Argument(metavar="EMAIL", help="Whom to forget, or a user id with --user-id.")],
    account: Account = None,
    user_id: Annotated[bool, typer.Option("--user-id", help="It is a user id.")] = False,
    yes: _Yes = False,
    author: Author = "unknown",
    json: Json = False,
) -> None:
    """Forget a person, here and in ProsperStack, as a Delete call does."""
    from prosperstack_destination.cli.problems import erase

    erase(account, who, author, by_user_id=user_id, yes=yes, as_json=json)


def doctor(
    offline: Annotated[bool, typer.Option("--offline", help="Ask neither ProsperStack nor the service.")] = False,
    json: Json = False,
) -> None:
    """Look at everything that the service needs, and say what to do. It costs a request an account."""
    from prosperstack_destination.cli.doctor import run

    if not run(offline=offline, as_json=json):
        raise typer.Exit(1)


def reencrypt(author: Author = "unknown", json: Json = False) -> None:
    """Encrypt every stored key anew with SECRET_KEY, so that FORMER_SECRET_KEYS are no longer needed."""
    from prosperstack_destination.cli.reencrypt import run

    run(author, as_json=json)


def simulate(
    people: Annotated[int, typer.Argument(min=1, help="How many enter the audience.")],
    account: Account = None,
    matching: Annotated[float, typer.Option(min=0, max=1, help="The part that are subscribers.")] = 1.0,
    changed: Annotated[float, typer.Option(min=0, max=1, help="The part of those that differ.")] = 1.0,
    subscribers: Annotated[int | None, typer.Option(min=0, help="How many the account has in all.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Requests a window, other than as told.")] = None,
    json: Json = False,
) -> None:
    """Tell how long a first sync of so many people takes on this account, before it is turned on in Engage."""
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


def import_(
    file: Annotated[Path, typer.Argument(help="CSV, JSONL, JSON (also with .gz) or Parquet.")],
    account: Account = None,
    email: _Column = None,
    user_id: _Column = None,
    time: _Column = None,
    time_format: Annotated[
        str | None,
        typer.Option(metavar="FORM", help="The form of times that are not ISO 8601, as '%d/%m/%Y %H:%M'."),
    ] = None,
    encoding: Annotated[
        str | None, typer.Option(help="The encoding of a text that is not UTF-8, as windows-1252.")
    ] = None,
    rename: Annotated[
        list[str] | None, typer.Option("--map", metavar="COLUMN=TRAIT", help="Call a column's trait so.")
    ] = None,
    skip: Annotated[list[str] | None, typer.Option(metavar="COLUMN", help="Leave a column out.")] = None,
    empty: Annotated[bool, typer.Option("--empty-deletes", help="An empty cell deletes a value.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what it would cost.")] = False,
    restart: Annotated[bool, typer.Option("--restart", help="From the first row, also if it is done.")] = False,
    yes: _Yes = False,
    author: Author = "unknown",
    json: Json = False,
) -> None:
    """Take in a file of people or of Segment's calls: it says what that costs, and goes on where it was stopped."""
    from prosperstack_destination.cli.import_file import run
    from prosperstack_destination.cli.row_reader import ColumnOptions

    pairs = [each.partition("=") for each in rename or []]
    if any(not (separator and column and trait) for column, separator, trait in pairs):
        raise typer.BadParameter("it has to be COLUMN=TRAIT", param_hint="--map")
    reading = ColumnOptions(
        email=email,
        user_id=user_id,
        time=time,
        time_format=time_format,
        encoding=encoding,
        renames=tuple((column, trait) for column, _, trait in pairs),
        skip=frozenset(skip or []),
        empty_deletes=empty,
    )
    options = {"dry_run": dry_run, "restart": restart, "yes": yes}
    if not run(file, account, reading, **options, author=author, as_json=json):
        raise typer.Exit(1)
