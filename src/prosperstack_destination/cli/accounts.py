"""Commands for accounts, their sources and the audit log."""

import sys
from typing import Annotated, Final

import typer

from prosperstack_destination.admin import accounts
from prosperstack_destination.admin.accounts import AccountChanges
from prosperstack_destination.cli import output, session
from prosperstack_destination.cli.output import Cell, Time
from prosperstack_destination.cli.prosperstack import check_prosperstack_key
from prosperstack_destination.cli.session import Account, Author, Json, Yes
from prosperstack_destination.clock import system_clock
from prosperstack_destination.errors import InvalidInput
from prosperstack_destination.settings import read_settings
from prosperstack_destination.settings_vault import vault_from_settings
from prosperstack_destination.store.accounts import HoldUnknown, OnDelete

app = typer.Typer()
accounts_app = typer.Typer(help="Manage the ProsperStack accounts that receive updates.", no_args_is_help=True)
app.add_typer(accounts_app, name="accounts")

#: Value of `--reserve` that returns an account to RATE_LIMIT_RESERVE.
DEFAULT: Final = "default"
_Unchecked = Annotated[bool, typer.Option("--unchecked", help="Do not check the key with ProsperStack.")]


@accounts_app.command("list")
def list_accounts(json: Json = False) -> None:
    """List every account, its status and its settings."""
    rows: list[list[Cell]] = [
        [
            each.id,
            each.fingerprint,
            "live" if each.live else "test",
            each.status.value,
            each.on_delete.value,
            each.reserve,
            each.status_reason,
            Time(each.status_until),
        ]
        for each in session.read(accounts.list_accounts)
    ]
    columns = ["Account", "Fingerprint", "Mode", "Status", "On delete", "Reserve", "Why", "Next attempt"]
    output.print_rows(columns, rows, as_json=json, nothing=accounts.NO_ACCOUNT)


@accounts_app.command()
def add(unchecked: _Unchecked = False, author: Author = "unknown", json: Json = False) -> None:
    """Open an account for a ProsperStack API key. The command prompts for the key, or reads standard input.

    The key is checked with ProsperStack first.
    """
    key = _read_key()
    vault = vault_from_settings(read_settings())
    if not unchecked:
        check_prosperstack_key(key)
    account, _ = session.write(accounts.open_account, key, vault, author, system_clock())
    if json:
        output.print_json({"account": account.id, "fingerprint": account.fingerprint})
    else:
        output.console.print(f"{account.id} ({account.fingerprint})")


@accounts_app.command()
def remove(account: Account = None, yes: Yes = False, author: Author = "unknown", json: Json = False) -> None:
    """Delete an account and everything stored for it. Nothing changes in ProsperStack or in Segment."""
    found = session.read(accounts.resolve, account)
    session.confirm(f"{found.fingerprint}: {accounts.CONSEQUENCES}", yes=yes, as_json=json)
    session.run(lambda database: accounts.remove_account(database, found, author, system_clock()))
    if json:
        output.print_json({"removed": found.id})
    else:
        output.console.print(f"{found.fingerprint} is removed. A running service refuses its keys within seconds.")


@accounts_app.command()
def rekey(
    account: Account = None, unchecked: _Unchecked = False, author: Author = "unknown", json: Json = False
) -> None:
    """Rotate the ProsperStack API key of an account. The command prompts for the key, or reads standard input."""
    vault = vault_from_settings(read_settings())
    key = _read_key()
    if not unchecked:
        check_prosperstack_key(key)
    changed = session.write_account(account, accounts.replace_key, key, vault, author, system_clock())
    if json:
        output.print_json({"account": changed.id, "fingerprint": changed.fingerprint})
        return
    output.console.print(f"Key rotated: {changed.id} uses {changed.fingerprint} from now on.")


@accounts_app.command("set")
def change(
    on_delete: Annotated[
        OnDelete | None, typer.Option(help="Effect of a deletion (GDPR, CCPA) in ProsperStack.")
    ] = None,
    reserve: Annotated[
        str | None,
        typer.Option(help="Share of the rate limit kept free for your own tools, e.g. 0.2; or default."),
    ] = None,
    hold_unknown: Annotated[
        HoldUnknown | None,
        typer.Option(help="Calls with an ID but without a known email that are held: those of Engage, or all."),
    ] = None,
    time_zone: Annotated[
        str | None, typer.Option(help="Zone in which rules see the day, e.g. Europe/Berlin.")
    ] = None,
    account: Account = None,
    author: Author = "unknown",
    json: Json = False,
) -> None:
    """Change the settings of an account. They apply within seconds."""
    share = ... if reserve is None else None if reserve == DEFAULT else _share(reserve)
    changes = AccountChanges(on_delete, share, hold_unknown, time_zone)
    if changes == AccountChanges():
        raise InvalidInput("Nothing to change: add --on-delete, --reserve, --hold-unknown or --time-zone.")
    changed = session.write_account(account, accounts.change, changes, author, system_clock())
    if json:
        output.print_json(
            {
                "account": changed.id,
                "on_delete": changed.on_delete.value,
                "reserve": changed.reserve,
                "hold_unknown": changed.hold_unknown.value,
                "time_zone": changed.time_zone,
            }
        )
        return
    kept_free = "RATE_LIMIT_RESERVE" if changed.reserve is None else f"{changed.reserve:.0%}"
    output.console.print(
        f"{changed.fingerprint}: effect of a deletion in ProsperStack: {changed.on_delete.value}; share of the "
        f"rate limit kept free for your own tools: {kept_free}; calls without a known email are held: "
        f"{changed.hold_unknown.value}; time zone: {changed.time_zone}."
    )


@app.command()
def sources(account: Account = None, json: Json = False) -> None:
    """List the sources of calls: Segment sources, Engage audiences and computed traits."""
    rows: list[list[Cell]] = []
    for each in session.read_account(account, accounts.list_sources):
        times = (Time(each.first_at), Time(each.last_at))
        rows.append([each.kind.value, each.key or "-", each.name, each.calls, each.audience_members, *times])
    columns = ["Kind", "Source", "Library", "Calls", "In", "First", "Last"]
    output.print_rows(columns, rows, as_json=json, nothing="No calls received yet. `send` posts an example.")


@app.command()
def audit(
    account: Account = None,
    limit: Annotated[int, typer.Option(min=1, help="Number of entries.")] = 50,
    json: Json = False,
) -> None:
    """Show the audit log: deletions, keys, mappings, and who changed them. It holds no personal data."""
    rows: list[list[Cell]] = []
    for each in session.read_account(account, accounts.audit, limit):
        details = ", ".join(f"{name}: {value}" for name, value in each.details.items())
        rows.append([Time(each.at), each.actor, each.action, dict(each.details) if json else details])
    output.print_rows(["When", "Who", "What", "Details"], rows, as_json=json, nothing="The audit log is empty.")


def _read_key() -> str:
    """Return a key from a prompt or standard input. It is not an argument: other users see command lines."""
    if sys.stdin.isatty():
        return output.console.input("API key: ", password=True).strip()
    return sys.stdin.readline().strip()


def _share(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InvalidInput(
            f"--reserve {text!r} is invalid: use a share of the rate limit, e.g. 0.2, or {DEFAULT}."
        ) from None
