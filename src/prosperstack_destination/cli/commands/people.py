"""Commands that show, deliver again, erase and import people."""

from pathlib import Path
from typing import Annotated

import typer

from prosperstack_destination.cli.options import Account, Author, Json

_Yes = Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")]
_Email = Annotated[str | None, typer.Option("--email", help="Only this person.")]
_UserId = Annotated[bool, typer.Option("--user-id", help="The argument is a user ID.")]


def profile(
    who: Annotated[str, typer.Argument(metavar="EMAIL", help="Email of the person, or user ID with --user-id.")],
    account: Account = None,
    user_id: _UserId = False,
    json: Json = False,
) -> None:
    """Show all data of one person: traits, and desired, observed and applied properties."""
    from prosperstack_destination.cli.profile import show

    show(account, who, by_user_id=user_id, as_json=json)


def retry(account: Account = None, email: _Email = None, author: Author = "unknown", json: Json = False) -> None:
    """Retry all people with a problem, or one person, now. It also retries an account that waits."""
    from prosperstack_destination.cli.actions import retry

    retry(account, email, author, as_json=json)


def replay(
    account: Account = None,
    email: _Email = None,
    yes: _Yes = False,
    author: Author = "unknown",
    json: Json = False,
) -> None:
    """Compare all stored profiles with ProsperStack again, and write the differences. It shows the cost first."""
    from prosperstack_destination.cli.actions import replay

    replay(account, email, author, yes=yes, as_json=json)


def erase(
    who: Annotated[str, typer.Argument(metavar="EMAIL", help="Email of the person, or user ID with --user-id.")],
    account: Account = None,
    user_id: _UserId = False,
    yes: _Yes = False,
    author: Author = "unknown",
    json: Json = False,
) -> None:
    """Erase a person, here and in ProsperStack, as a Delete call does."""
    from prosperstack_destination.cli.actions import erase

    erase(account, who, author, by_user_id=user_id, yes=yes, as_json=json)


def import_(
    file: Annotated[Path, typer.Argument(help="CSV, JSONL, JSON (also with .gz) or Parquet file.")],
    account: Account = None,
    email: Annotated[str | None, typer.Option(help="Column of emails. Default: found by its name.")] = None,
    user_id: Annotated[str | None, typer.Option(help="Column of user IDs. Default: found by its name.")] = None,
    time: Annotated[str | None, typer.Option(help="Column of event times. Default: found by its name.")] = None,
    time_format: Annotated[
        str | None,
        typer.Option(metavar="FORM", help="Format of times that are not ISO 8601, as '%d/%m/%Y %H:%M'."),
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
    yes: _Yes = False,
    author: Author = "unknown",
    json: Json = False,
) -> None:
    """Import a file of people or of Segment calls. It shows the cost first, and resumes an interrupted import."""
    from prosperstack_destination.cli.import_file import run
    from prosperstack_destination.file_import.row_parser import ColumnOptions

    pairs = [each.partition("=") for each in rename or []]
    if any(not (separator and column and trait) for column, separator, trait in pairs):
        raise typer.BadParameter("it has to be COLUMN=TRAIT", param_hint="--map")
    columns = ColumnOptions(
        email=email,
        user_id=user_id,
        time=time,
        time_format=time_format,
        encoding=encoding,
        renames=tuple((column, trait) for column, _, trait in pairs),
        skip=frozenset(skip or []),
        empty_deletes=empty,
    )
    flags = {"dry_run": dry_run, "restart": restart, "yes": yes}
    if not run(file, account, columns, **flags, author=author, as_json=json):
        raise typer.Exit(1)


def add_to(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    for command in (profile, retry, replay, erase):
        app.command()(command)
    app.command("import")(import_)
