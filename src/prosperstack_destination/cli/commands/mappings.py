"""Which trait feeds which property: looking, trying, applying, going back."""

from pathlib import Path
from typing import Annotated

import typer

from prosperstack_destination.cli.options import Account, Author, Json

_MappingFile = Annotated[Path, typer.Argument(help="The mapping, as YAML.")]

mappings_app = typer.Typer(help="The rules that say which trait feeds which property.", no_args_is_help=True)


@mappings_app.command("validate")
def mappings_validate(file: _MappingFile, account: Account = None, json: Json = False) -> None:
    """Check a file, and apply nothing."""
    from prosperstack_destination.cli.mappings import validate

    if not validate(file, account, as_json=json):
        raise typer.Exit(1)


@mappings_app.command("show")
def mappings_show(
    account: Account = None,
    version: Annotated[int | None, typer.Option(min=0, help="An earlier version; else the one in force.")] = None,
    json: Json = False,
) -> None:
    """Print the mapping in force, in the form that `apply` takes."""
    from prosperstack_destination.cli.mappings import show

    show(account, version, as_json=json)


@mappings_app.command("diff")
def mappings_diff(file: _MappingFile, account: Account = None, json: Json = False) -> None:
    """Show what a file would change for the profiles that are stored, and what that would cost."""
    from prosperstack_destination.cli.mappings import diff

    diff(file, account, as_json=json)


@mappings_app.command("apply")
def mappings_apply(
    file: _MappingFile,
    account: Account = None,
    author: Author = "unknown",
    based_on: Annotated[
        int | None, typer.Option(min=0, help="Refuse if another version than this one is in force.")
    ] = None,
    allow_unknown: Annotated[
        bool, typer.Option("--allow-unknown", help="Take rules for properties that the account does not have yet.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask where problems would rise.")] = False,
    json: Json = False,
) -> None:
    """Put the mapping of a file in force, for every profile already received as well."""
    from prosperstack_destination.cli.mappings import apply

    apply(file, account, author, based_on=based_on, allow_unknown=allow_unknown, yes=yes, as_json=json)


@mappings_app.command("history")
def mappings_history(
    account: Account = None,
    limit: Annotated[int, typer.Option(min=1, help="How many versions.")] = 20,
    json: Json = False,
) -> None:
    """Show the versions that were applied: when, by whom."""
    from prosperstack_destination.cli.mappings import history

    history(account, limit, as_json=json)


@mappings_app.command("rollback")
def mappings_rollback(
    version: Annotated[
        int | None, typer.Argument(min=0, help="The version to go back to; else the one before.")
    ] = None,
    account: Account = None,
    author: Author = "unknown",
    json: Json = False,
) -> None:
    """Put an earlier version in force again."""
    from prosperstack_destination.cli.mappings import roll_back

    roll_back(account, version, author, as_json=json)


@mappings_app.command("schema")
def mappings_schema(json: Json = True) -> None:  # noqa: ARG001 -- it prints nothing else, and scripts may say so
    """Print the JSON Schema of mapping files, by which editors complete them."""
    from prosperstack_destination.cli.mappings import schema

    schema()


def add_to(app: typer.Typer) -> None:
    """Add this group to the command line."""
    app.add_typer(mappings_app, name="mappings")
