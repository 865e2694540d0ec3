"""``tokens``: who may use the API."""

from prosperstack_destination.admin import operator_tokens as operations
from prosperstack_destination.auth.api_keys import fingerprint
from prosperstack_destination.cli import output
from prosperstack_destination.cli.output import Cell, Time
from prosperstack_destination.cli.session import read, write
from prosperstack_destination.clock import system_clock
from prosperstack_destination.store import operator_tokens


def issue(name: str, author: str, *, as_json: bool) -> None:
    """Make a token, and print it: only now."""
    token = write(lambda connection: operations.issue(connection, name, author, system_clock()))
    if as_json:
        output.print_json({"token": token, "fingerprint": fingerprint(token)})
    else:
        print(token)


def list_tokens(*, as_json: bool) -> None:
    """Print the tokens by their fingerprints."""
    rows: list[list[Cell]] = [
        [each.fingerprint, each.name, Time(each.created_at), Time(each.revoked_at)]
        for each in read(operator_tokens.every)
    ]
    columns = ["Token", "Name", "Issued", "Revoked"]
    output.print_rows(columns, rows, as_json=as_json, nothing="There is no token yet: `tokens issue` makes one.")


def revoke(token: str, author: str, *, as_json: bool) -> None:
    """Refuse a token from now on."""
    write(lambda connection: operations.revoke(connection, token, author, system_clock()))
    if as_json:
        output.print_json({"revoked": token})
    else:
        output.console.print(f"{token} is refused within seconds.")
