"""``accounts``, ``keys``, ``secrets``, ``sources`` and ``audit``: who may call, and what they did."""

import sys

from rich.console import Console
from rich.table import Table
from sqlalchemy import Connection

from prosperstack_destination.accounts import issuing
from prosperstack_destination.application import vault_of
from prosperstack_destination.cli.operating import chosen_account, in_database, shown_time
from prosperstack_destination.clock import system_clock
from prosperstack_destination.settings import read_settings
from prosperstack_destination.state import accounts, auditing, credentials, sources
from prosperstack_destination.state.accounts import OnDelete
from prosperstack_destination.state.profile import SourceKind

_console = Console(highlight=False, soft_wrap=True)


def list_accounts() -> None:
    """Print every account."""

    def work(connection: Connection) -> list[tuple[accounts.Account, OnDelete]]:
        return [(each, accounts.on_delete(connection, each.id)) for each in accounts.every(connection)]

    table = _table("Account", "Fingerprint", "Mode", "Status", "On delete", "Why")
    for account, on_delete in in_database(work):
        mode = "live" if account.live else "test"
        why = account.status_reason or ""
        table.add_row(account.id, account.fingerprint, mode, account.status, on_delete, why)
    _console.print(table)


def add_account(author: str) -> None:
    """Open an account for a ProsperStack key, which is never part of a command line: others see those."""
    key = sys.stdin.readline().strip() if not sys.stdin.isatty() else _console.input("API key: ", password=True)
    settings = read_settings()
    vault = vault_of(settings)
    account = in_database(
        lambda connection: issuing.register(connection, key.strip(), vault, author, system_clock()), settings
    )
    _console.print(f"{account.id} ({account.fingerprint})")


def set_on_delete(account_name: str | None, on_delete: OnDelete, author: str) -> None:
    """Choose what a deletion does in ProsperStack."""

    def work(connection: Connection) -> None:
        account = chosen_account(connection, account_name)
        accounts.set_on_delete(connection, account.id, on_delete)
        details = {"on_delete": on_delete.value}
        auditing.record(connection, account.id, system_clock(), actor=author, action="set", details=details)

    in_database(work)


def issue_key(account_name: str | None, name: str, author: str) -> None:
    """Make an inbound key, and print it: only now."""
    key = in_database(
        lambda connection: issuing.issue_key(
            connection, chosen_account(connection, account_name), name, author, system_clock()
        )
    )
    _console.print("The key, which is shown only now; enter it as the API key of the destination in Segment:")
    print(key)


def list_keys(account_name: str | None) -> None:
    """Print an account's inbound keys by their fingerprints."""
    table = _table("Key", "Name", "From", "Created", "Last used", "Revoked")
    for each in in_database(
        lambda connection: credentials.keys_of(connection, chosen_account(connection, account_name).id)
    ):
        times = (shown_time(at) for at in (each.created_at, each.last_used_at, each.revoked_at))
        table.add_row(each.fingerprint, each.name, each.origin, *times)
    _console.print(table)


def revoke_key(account_name: str | None, fingerprint: str, author: str) -> None:
    """Refuse a key from now on."""
    in_database(
        lambda connection: issuing.revoke_key(
            connection, chosen_account(connection, account_name), fingerprint, author, system_clock()
        )
    )
    _console.print(f"{fingerprint} is refused within seconds.")


def issue_secret(account_name: str | None, name: str, author: str) -> None:
    """Make a shared secret, and print it: only now."""
    settings = read_settings()
    vault = vault_of(settings)

    def work(connection: Connection) -> tuple[str, str]:
        account = chosen_account(connection, account_name)
        return account.id, issuing.issue_secret(connection, account, name, vault, author, system_clock())

    account_id, secret = in_database(work, settings)
    _console.print(
        "The shared secret, which is shown only now; enter it in the settings of the webhook in Segment,"
    )
    _console.print(f"with a URL of this service that ends in /webhook/{account_id}:")
    print(secret)


def list_secrets(account_name: str | None) -> None:
    """Print an account's shared secrets by their ids."""
    table = _table("Secret", "Name", "Created", "Revoked")
    for each in in_database(
        lambda connection: credentials.secrets_of(connection, chosen_account(connection, account_name).id)
    ):
        table.add_row(each.id, each.name, shown_time(each.created_at), shown_time(each.revoked_at))
    _console.print(table)


def revoke_secret(account_name: str | None, secret_id: str, author: str) -> None:
    """Refuse what a secret signs from now on."""
    in_database(
        lambda connection: issuing.revoke_secret(
            connection, chosen_account(connection, account_name), secret_id, author, system_clock()
        )
    )
    _console.print(f"{secret_id} is refused within seconds.")


def list_sources(account_name: str | None) -> None:
    """Print where an account's calls come from."""
    table = _table("Kind", "Source", "Library", "Calls", "In", "First", "Last")
    for each in in_database(
        lambda connection: sources.of_account(connection, chosen_account(connection, account_name).id)
    ):
        members = f"{each.members:,}" if each.kind is SourceKind.AUDIENCE else ""
        times = (shown_time(each.first_at), shown_time(each.last_at))
        table.add_row(each.kind, each.key or "-", each.name, f"{each.calls:,}", members, *times)
    _console.print(table)


def show_audit(account_name: str | None, limit: int) -> None:
    """Print who did what to an account, the newest first."""
    table = _table("When", "Who", "What", "Details")
    for each in in_database(
        lambda connection: auditing.latest(connection, chosen_account(connection, account_name).id, limit)
    ):
        details = ", ".join(f"{name}: {value}" for name, value in each.details.items())
        table.add_row(shown_time(each.at), each.actor, each.action, details)
    _console.print(table)


def _table(*columns: str) -> Table:
    return Table(*columns, box=None, header_style="bold")
