"""``connectors``: the tokens in the URLs that ProsperStack calls."""

from prosperstack_destination.auth import credential_service
from prosperstack_destination.cli import output
from prosperstack_destination.cli.output import Cell, Time
from prosperstack_destination.cli.session import read, resolve_account, write
from prosperstack_destination.clock import system_clock
from prosperstack_destination.store import connector_tokens


def issue(account_name: str | None, name: str, author: str, *, as_json: bool) -> None:
    """Make a token, and print the paths that it opens: only now."""
    token = write(
        lambda connection: credential_service.issue_connector(
            connection, resolve_account(connection, account_name), name, author, system_clock()
        )
    )
    if as_json:
        output.print_json({"data_connector": f"/data-connector/{token}", "flow_webhook": f"/flow-webhook/{token}"})
        return
    output.console.print("Shown only now. Enter the URL of this service with one of these paths in ProsperStack:")
    output.console.print("as the endpoint of a custom data connector, or of a webhook for flow_session_started.")
    print(f"/data-connector/{token}")
    print(f"/flow-webhook/{token}")


def list_tokens(account_name: str | None, *, as_json: bool) -> None:
    """Print an account's tokens by their fingerprints."""
    rows: list[list[Cell]] = [
        [each.fingerprint, each.name, *map(Time, (each.created_at, each.last_used_at, each.revoked_at))]
        for each in read(
            lambda connection: connector_tokens.of_account(connection, resolve_account(connection, account_name).id)
        )
    ]
    columns = ["Connector", "Name", "Created", "Last used", "Revoked"]
    output.print_rows(columns, rows, as_json=as_json, nothing="There is none yet: `connectors issue` makes one.")


def revoke(account_name: str | None, fingerprint: str, author: str, *, as_json: bool) -> None:
    """Refuse a token from now on."""
    write(
        lambda connection: credential_service.revoke_connector(
            connection, resolve_account(connection, account_name), fingerprint, author, system_clock()
        )
    )
    if as_json:
        output.print_json({"revoked": fingerprint})
    else:
        output.console.print(f"{fingerprint} is refused within seconds.")
