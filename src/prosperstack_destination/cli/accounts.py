"""Implementation of `accounts`, `sources` and `audit`."""

import sys
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection

from prosperstack_destination.admin import accounts as account_settings
from prosperstack_destination.admin.accounts import CONSEQUENCES, remove_account
from prosperstack_destination.auth import credentials as issuing
from prosperstack_destination.cli import output
from prosperstack_destination.cli.output import Cell, Time
from prosperstack_destination.cli.prosperstack import check_key
from prosperstack_destination.cli.session import NO_ACCOUNT, confirm, read, resolve_account, run, write
from prosperstack_destination.clock import system_clock
from prosperstack_destination.errors import ConfigurationError
from prosperstack_destination.settings import read_settings
from prosperstack_destination.store import accounts, activity, sources
from prosperstack_destination.store.accounts import HoldUnknown, OnDelete
from prosperstack_destination.store.models import SourceKind
from prosperstack_destination.vault import vault_from_settings

#: Value of `--reserve` that returns an account to RATE_LIMIT_RESERVE.
DEFAULT: Final = "default"


def list_accounts(*, as_json: bool) -> None:
    """Print every account."""
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
        for each in read(accounts.all_accounts)
    ]
    columns = ["Account", "Fingerprint", "Mode", "Status", "On delete", "Reserve", "Why", "Next attempt"]
    output.print_rows(columns, rows, as_json=as_json, nothing=NO_ACCOUNT)


def add_account(author: str, *, checked: bool, as_json: bool) -> None:
    """Open an account for a ProsperStack key. Raises `ConfigurationError` if ProsperStack refuses the key."""
    key = _read_key()
    settings = read_settings()
    vault = vault_from_settings(settings)
    if checked:
        check_key(settings, key)
    account = write(
        lambda connection: issuing.open_account(connection, key, vault, author, system_clock()), settings
    )
    if as_json:
        output.print_json({"account": account.id, "fingerprint": account.fingerprint})
    else:
        output.console.print(f"{account.id} ({account.fingerprint})")


def replace_key(account_name: str | None, author: str, *, checked: bool, as_json: bool) -> None:
    """Replace an account's ProsperStack key. Raises `ConfigurationError` if ProsperStack refuses the new one."""
    settings = read_settings()
    vault = vault_from_settings(settings)
    key = _read_key()
    if checked:
        check_key(settings, key)

    def work(connection: Connection) -> accounts.Account:
        account = resolve_account(connection, account_name)
        return issuing.replace_key(connection, account, key, vault, author, system_clock())

    account = write(work, settings)
    if as_json:
        output.print_json({"account": account.id, "fingerprint": account.fingerprint})
        return
    output.console.print(f"Key rotated: {account.id} uses {account.fingerprint} from now on.")


def remove(account_name: str | None, author: str, *, yes: bool, as_json: bool) -> None:
    """Delete an account and everything stored for it, after confirmation."""
    settings = read_settings()
    account = read(lambda connection: resolve_account(connection, account_name), settings)
    confirm(f"{account.fingerprint}: {CONSEQUENCES}", yes=yes, as_json=as_json)
    run(settings, lambda database: remove_account(database, account, author, system_clock()))
    if as_json:
        output.print_json({"removed": account.id})
    else:
        output.console.print(
            f"{account.fingerprint} is removed. A running service refuses its keys within seconds."
        )


def _read_key() -> str:
    """Return a key from a prompt or standard input. It is no argument: other users see command lines."""
    if sys.stdin.isatty():
        return output.console.input("API key: ", password=True).strip()
    return sys.stdin.readline().strip()


@dataclass(frozen=True, slots=True)
class AccountChanges:
    """Settings to change; None: unchanged."""

    on_delete: OnDelete | None
    #: A share of the rate limit, or `DEFAULT`.
    reserve: str | None
    hold_unknown: HoldUnknown | None
    time_zone: str | None


def change(account_name: str | None, author: str, changes: AccountChanges, *, as_json: bool) -> None:
    """Change an account's settings. Raises `ConfigurationError` if none is given, or if one is invalid."""
    if changes == AccountChanges(None, None, None, None):
        raise ConfigurationError("Nothing to change: add --on-delete, --reserve, --hold-unknown or --time-zone.")
    share = None if changes.reserve in (None, DEFAULT) else _share(str(changes.reserve))

    def work(connection: Connection) -> accounts.Account:
        account, now = resolve_account(connection, account_name), system_clock()
        if changes.on_delete is not None:
            account_settings.set_on_delete(connection, account, changes.on_delete, author, now)
        if changes.reserve is not None:
            account_settings.set_reserve(connection, account, share, author, now)
        if changes.hold_unknown is not None:
            account_settings.set_hold_unknown(connection, account, changes.hold_unknown, author, now)
        if changes.time_zone is not None:
            account_settings.set_time_zone(connection, account, changes.time_zone, author, now)
        return account_settings.find(connection, account.id)

    account = write(work)
    if as_json:
        output.print_json(
            {
                "account": account.id,
                "on_delete": account.on_delete.value,
                "reserve": account.reserve,
                "hold_unknown": account.hold_unknown.value,
                "time_zone": account.time_zone,
            }
        )
        return
    kept_free = "RATE_LIMIT_RESERVE" if account.reserve is None else f"{account.reserve:.0%}"
    output.console.print(
        f"{account.fingerprint}: effect of a deletion in ProsperStack: {account.on_delete.value}; share of the "
        f"rate limit kept free for your own tools: {kept_free}; calls without a known email are held: "
        f"{account.hold_unknown.value}; time zone: {account.time_zone}."
    )


def _share(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ConfigurationError(
            f"--reserve {text!r} is invalid: use a share of the rate limit, as 0.2, or {DEFAULT}."
        ) from None


def list_sources(account_name: str | None, *, as_json: bool) -> None:
    """Print the sources of an account's calls."""
    rows: list[list[Cell]] = []
    for each in read(
        lambda connection: sources.of_account(connection, resolve_account(connection, account_name).id)
    ):
        members = each.members if each.kind is SourceKind.AUDIENCE else None
        times = (Time(each.first_at), Time(each.last_at))
        rows.append([each.kind.value, each.key or "-", each.name, each.calls, members, *times])
    columns = ["Kind", "Source", "Library", "Calls", "In", "First", "Last"]
    output.print_rows(columns, rows, as_json=as_json, nothing="No calls received yet. `send` posts an example.")


def show_audit(account_name: str | None, limit: int, *, as_json: bool) -> None:
    """Print an account's audit log, the newest entry first."""
    entries = read(
        lambda connection: activity.recent_actions(connection, resolve_account(connection, account_name).id, limit)
    )
    rows: list[list[Cell]] = []
    for each in entries:
        details = ", ".join(f"{name}: {value}" for name, value in each.details.items())
        rows.append([Time(each.at), each.actor, each.action, dict(each.details) if as_json else details])
    output.print_rows(["When", "Who", "What", "Details"], rows, as_json=as_json, nothing="The audit log is empty.")
