"""The command line: a face of the service, for developers and operators."""

import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from prosperstack_destination import __version__
from prosperstack_destination.cli.commands import accounts, credentials, database, local, mappings, operations
from prosperstack_destination.errors import DestinationError

app = typer.Typer(
    name="prosperstack-destination",
    help="A Segment destination for ProsperStack: traits become, and stay, subscribers' custom properties.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for part in (local, mappings, accounts, credentials, database, operations):
    part.add_to(app)


def main() -> None:
    """Run the command line; what goes wrong on purpose is told in a sentence, without a traceback."""
    try:
        app()
    except DestinationError as error:
        # An error may quote brackets, and places that a narrow line would tear apart.
        Console(stderr=True, soft_wrap=True).print(f"[red]Error:[/red] {escape(str(error))}", highlight=False)
        sys.exit(1)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass
