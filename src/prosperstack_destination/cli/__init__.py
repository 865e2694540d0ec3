"""Command line of the service, for developers and operators."""

import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from prosperstack_destination import __version__
from prosperstack_destination.cli.commands import (
    accounts,
    credentials,
    database,
    local,
    mappings,
    monitoring,
    people,
)
from prosperstack_destination.errors import DestinationError

app = typer.Typer(
    name="prosperstack-destination",
    help="A Segment destination for ProsperStack: traits keep subscribers' custom properties up to date.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for group in (local, mappings, accounts, credentials, people, monitoring, database):
    group.add_to(app)


def main() -> None:
    """Run the command line. Known errors are printed as one sentence, without a traceback, and exit with 1."""
    try:
        app()
    except DestinationError as error:
        # An error may quote brackets, which are not markup, and paths, which a narrow line would break.
        Console(stderr=True, soft_wrap=True).print(f"[red]Error:[/red] {escape(str(error))}", highlight=False)
        sys.exit(1)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass
