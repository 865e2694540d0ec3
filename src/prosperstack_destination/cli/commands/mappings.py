"""Commands that check, compare, apply and roll back mappings."""

from pathlib import Path
from typing import Annotated

import typer

from prosperstack_destination.cli.options import Account, Author, Json

_MappingFile = Annotated[Path, typer.Argument(help="Mapping file, as YAML.")]

mappings_app = typer.Typer(help="Manage the rules that map traits to properties.", no_args_is_help=True)


@mappings_app.command("validate")
def mappings_validate(file: _MappingFile, account: Account = None, json: Json = False) -> None:
    """Check a mapping file without applying it."""
    from prosperstack_destination.cli.mappings import validate

    if not validate(file, account, as_json=json):
        raise typer.Exit(1)


@mappings_app.command("show")
def mappings_show(
    account: Account = None,
    version: Annotated[int | None, typer.Option(min=0, help="Earlier version. Default: the current one.")] = None,
    json: Json = False,
) -> None:
    """Print the current mapping as a file that `mappings apply` reads."""
    from prosperstack_destination.cli.mappings import show

    show(account, version, as_json=json)


@mappings_app.command("diff")
def mappings_diff(file: _MappingFile, account: Account = None, json: Json = False) -> None:
    """Show the changes that a mapping file makes to stored profiles, and their cost in requests."""
    from prosperstack_destination.cli.mappings import diff

    diff(file, account, as_json=json)


@mappings_app.command("apply")
def mappings_apply(
    file: _MappingFile,
    account: Account = None,
    author: Author = "unknown",
    based_on: Annotated[
        int | None, typer.Option(min=0, help="Fail if the current version is not this one.")
    ] = None,
    allow_unknown: Annotated[
        bool,
        typer.Option("--allow-unknown", help="Accept rules for properties that do not exist yet."),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation if problems increase.")] = False,
    json: Json = False,
) -> None:
    """Apply a mapping file, to stored profiles and to new calls."""
    from prosperstack_destination.cli.mappings import apply

    apply(file, account, author, based_on=based_on, allow_unknown=allow_unknown, yes=yes, as_json=json)


@mappings_app.command("history")
def mappings_history(
    account: Account = None,
    limit: Annotated[int, typer.Option(min=1, help="Number of versions.")] = 20,
    json: Json = False,
) -> None:
    """List the applied versions, with time and author."""
    from prosperstack_destination.cli.mappings import history

    history(account, limit, as_json=json)


@mappings_app.command("rollback")
def mappings_rollback(
    version: Annotated[
        int | None, typer.Argument(min=0, help="Version to apply again. Default: the previous one.")
    ] = None,
    account: Account = None,
    author: Author = "unknown",
    json: Json = False,
) -> None:
    """Apply an earlier version again, as a new version."""
    from prosperstack_destination.cli.mappings import roll_back

    roll_back(account, version, author, as_json=json)


@mappings_app.command("schema")
def mappings_schema(json: Json = True) -> None:  # noqa: ARG001 -- the output is always JSON; scripts may pass --json
    """Print the JSON Schema of mapping files, for completion in editors."""
    from prosperstack_destination.cli.mappings import schema

    schema()


def add_to(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.add_typer(mappings_app, name="mappings")
