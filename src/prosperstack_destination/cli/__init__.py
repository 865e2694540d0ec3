"""Command line of the service, for developers and operators. Each command's module is loaded when it runs."""

import gc
import sys
from importlib import import_module
from typing import Annotated, Any, Final

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_group

from prosperstack_destination import __version__
from prosperstack_destination.errors import DestinationError

#: Commands and groups of commands: name, module, and the line that `--help` shows without loading the module.
COMMANDS: Final = (
    ("serve", "serve", "Run the service: receive Identify calls and keep ProsperStack's subscribers up to date."),
    ("sandbox", "serve", "Simulate ProsperStack's API, with generated subscribers."),
    ("send", "send", "Post Identify calls to the service and show the answers and the changed properties."),
    ("load", "load", "Send calls at a fixed rate, and measure the answers: to size a machine, against a sandbox."),
    ("sources", "accounts", "List the sources of calls: Segment sources, Engage audiences and computed traits."),
    (
        "audit",
        "accounts",
        "Show the audit log: deletions, keys, mappings, and who changed them. It holds no personal data.",
    ),
    (
        "password",
        "credentials",
        "Print the generated password of the dashboard. It exists if ADMIN_PASSWORD is not set.",
    ),
    (
        "reencrypt",
        "credentials",
        "Encrypt every stored key again with SECRET_KEY. FORMER_SECRET_KEYS are not needed afterwards.",
    ),
    ("profile", "people", "Show all data of one person: traits, and desired, observed and applied properties."),
    (
        "retry",
        "people",
        "Retry all people with a problem, or one person, now. It also retries an account that waits.",
    ),
    (
        "replay",
        "people",
        "Compare all stored profiles with ProsperStack again, and write the differences. It shows the cost first.",
    ),
    ("erase", "people", "Erase a person, here and in ProsperStack, as a Delete call does."),
    (
        "import",
        "import_file",
        "Import a file of people or of Segment calls. It shows the cost first, and resumes an interrupted import.",
    ),
    ("status", "status", "Show each account: status, backlog, rate, time left, and remaining requests."),
    ("watch", "status", "Show the status live, until interrupted."),
    ("events", "activity", "Show recent activity: calls, deliveries, failed requests, cancel flows."),
    ("problems", "activity", "Show the values that cannot be delivered, grouped by property and reason."),
    ("failures", "activity", "Show failed deliveries of people and erasures: the reason and the next attempt."),
    (
        "doctor",
        "doctor",
        "Check everything that the service needs, and print advice. It costs one request for each account.",
    ),
    ("simulate", "simulate", "Estimate the time of a first sync, before you turn it on in Engage."),
    ("mappings", "mappings", "Manage the rules that map traits to properties."),
    ("accounts", "accounts", "Manage the ProsperStack accounts that receive updates."),
    ("keys", "credentials", "Manage the keys that callers authenticate with."),
    ("secrets", "credentials", "Manage the shared secrets that sign webhooks."),
    ("tokens", "credentials", "Manage the tokens that operators use for the API."),
    ("connectors", "credentials", "Manage the URLs that ProsperStack calls when a subscriber starts to cancel."),
    ("db", "database", "Upgrade, move and back up the database."),
)


class LazyCommand(TyperCommand):
    """Command or group of commands whose module is not loaded yet."""

    def __init__(self, name: str, module: str, help_line: str) -> None:
        super().__init__(name=name, callback=None, help=help_line)
        self._module = f"{__name__}.{module}"

    def load(self) -> Any:
        """Return the command of the module's app with this name.

        Imports create no garbage, and collecting took a tenth of the time.
        """
        gc.disable()
        try:
            group: Any = get_group(import_module(self._module).app)
        finally:
            gc.enable()
        return group.commands[self.name]


class LazyGroup(TyperGroup):
    """Group that loads a command's module when the command runs."""

    def __init__(self, **options: Any) -> None:
        lazy = {name: LazyCommand(name, module, help_line) for name, module, help_line in COMMANDS}
        super().__init__(**{**options, "commands": lazy})

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        return name, command.load() if isinstance(command, LazyCommand) else command, rest


app = typer.Typer(
    cls=LazyGroup,
    name="prosperstack-destination",
    help="A Segment destination for ProsperStack: traits keep subscribers' custom properties up to date.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command line. Known errors are printed as one sentence, without a traceback, and exit with 1."""
    try:
        app()
    except DestinationError as error:
        from rich.console import Console
        from rich.markup import escape

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
