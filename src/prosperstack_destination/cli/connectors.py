"""``connectors``: the tokens in the URLs that ProsperStack calls."""

from rich.console import Console
from rich.table import Table

from prosperstack_destination.accounts import issuing
from prosperstack_destination.cli.operating import chosen_account, in_database, shown_time
from prosperstack_destination.clock import system_clock
from prosperstack_destination.state import connectors

_console = Console(highlight=False, soft_wrap=True)


def issue(account_name: str | None, name: str, author: str) -> None:
    """Make a token, and print the paths that it opens: only now."""
    token = in_database(
        lambda connection: issuing.issue_connector(
            connection, chosen_account(connection, account_name), name, author, system_clock()
        )
    )
    _console.print("Shown only now. Enter the URL of this service with one of these paths in ProsperStack:")
    _console.print("as the endpoint of a custom data connector, or of a webhook for flow_session_started.")
    print(f"/data-connector/{token}")
    print(f"/flow-webhook/{token}")


def list_tokens(account_name: str | None) -> None:
    """Print an account's tokens by their fingerprints."""
    table = Table("Connector", "Name", "Created", "Last used", "Revoked", box=None, header_style="bold")
    for each in in_database(
        lambda connection: connectors.of_account(connection, chosen_account(connection, account_name).id)
    ):
        times = (shown_time(at) for at in (each.created_at, each.last_used_at, each.revoked_at))
        table.add_row(each.fingerprint, each.name, *times)
    _console.print(table)


def revoke(account_name: str | None, fingerprint: str, author: str) -> None:
    """Refuse a token from now on."""
    in_database(
        lambda connection: issuing.revoke_connector(
            connection, chosen_account(connection, account_name), fingerprint, author, system_clock()
        )
    )
    _console.print(f"{fingerprint} is refused within seconds.")
