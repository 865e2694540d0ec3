"""``tokens``: who may use the API."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from prosperstack_destination.accounts.operators import issue_token, revoke_token
from prosperstack_destination.cli.operating import in_database, shown_time
from prosperstack_destination.clock import system_clock
from prosperstack_destination.state import tokens

_console = Console(highlight=False, soft_wrap=True)


def issue(name: str) -> None:
    """Make a token, and print it: only now."""
    print(in_database(lambda connection: issue_token(connection, name, system_clock())))


def list_tokens() -> None:
    """Print the tokens by their fingerprints."""
    table = Table("Token", "Name", "Issued (UTC)", "Revoked")
    for each in in_database(tokens.every):
        table.add_row(each.fingerprint, escape(each.name), shown_time(each.created_at), shown_time(each.revoked_at))
    _console.print(table)


def revoke(token: str) -> None:
    """Refuse a token from now on."""
    in_database(lambda connection: revoke_token(connection, token, system_clock()))
