"""``accounts``, ``keys``, ``secrets``, ``sources`` and ``audit``: who may call, and what they did."""

import sys
from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection

from prosperstack_destination.admin import accounts as choices
from prosperstack_destination.admin.accounts import CONSEQUENCES, remove_account
from prosperstack_destination.auth import credential_service
from prosperstack_destination.cli import output
from prosperstack_destination.cli.output import Cell, Time
from prosperstack_destination.cli.problems import confirm
from prosperstack_destination.cli.prosperstack import check_key
from prosperstack_destination.cli.session import read, resolve_account, run, write
from prosperstack_destination.clock import system_clock
from prosperstack_destination.errors import ConfigurationError
from prosperstack_destination.settings import read_settings
from prosperstack_destination.store import accounts, audit_log, credentials, sources
from prosperstack_destination.store.accounts import OnDelete
from prosperstack_destination.store.models import SourceKind
from prosperstack_destination.vault import vault_from_settings

#: What `--reserve` is given to have the service's setting hold again.
DEFAULT: Final = "default"
_NO_ACCOUNT = "There is no account yet: the first call with its key opens it, or `accounts add`."


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
    output.print_rows(columns, rows, as_json=as_json, nothing=_NO_ACCOUNT)


def add_account(author: str, *, checked: bool, as_json: bool) -> None:
    """Open an account for a ProsperStack key, which is never part of a command line: others see those."""
    key = _read_key()
    settings = read_settings()
    vault = vault_from_settings(settings)
    if checked:
        check_key(settings, key)
    account = write(
        lambda connection: credential_service.open_account(connection, key, vault, author, system_clock()), settings
    )
    if as_json:
        output.print_json({"account": account.id, "fingerprint": account.fingerprint})
    else:
        output.console.print(f"{account.id} ({account.fingerprint})")


def replace_key(account_name: str | None, author: str, *, checked: bool, as_json: bool) -> None:
    """Have an account use another ProsperStack key."""
    settings = read_settings()
    vault = vault_from_settings(settings)
    key = _read_key()
    if checked:
        check_key(settings, key)

    def work(connection: Connection) -> accounts.Account:
        account = resolve_account(connection, account_name)
        return credential_service.replace_key(connection, account, key, vault, author, system_clock())

    account = write(work, settings)
    if as_json:
        output.print_json({"account": account.id, "fingerprint": account.fingerprint})
        return
    output.console.print(f"{account.id} uses {account.fingerprint} from now on.")


def remove(account_name: str | None, author: str, *, yes: bool, as_json: bool) -> None:
    """Delete an account with everything that is stored for it, after asking."""
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
    """A key that is asked for, or read from standard input: on a command line others would see it."""
    if sys.stdin.isatty():
        return output.console.input("API key: ", password=True).strip()
    return sys.stdin.readline().strip()


def change(
    account_name: str | None, author: str, *, on_delete: OnDelete | None, reserve: str | None, as_json: bool
) -> None:
    """Choose what a deletion does in ProsperStack, and what of the rate limit is left to the owner."""
    if on_delete is None and reserve is None:
        raise ConfigurationError("Say what to change: --on-delete or --reserve.")
    part = None if reserve is None or reserve == DEFAULT else _part(reserve)

    def work(connection: Connection) -> accounts.Account:
        account, now = resolve_account(connection, account_name), system_clock()
        if on_delete is not None:
            choices.set_on_delete(connection, account, on_delete, author, now)
        if reserve is not None:
            choices.set_reserve(connection, account, part, author, now)
        return choices.find(connection, account.id)

    account = write(work)
    if as_json:
        output.print_json({"account": account.id, "on_delete": account.on_delete.value, "reserve": account.reserve})
        return
    left = "what RATE_LIMIT_RESERVE says" if account.reserve is None else f"{account.reserve:.0%}"
    output.console.print(
        f"{account.fingerprint}: a deletion does this in ProsperStack: {account.on_delete.value}; of the rate "
        f"limit its owner is left {left}."
    )


def _part(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ConfigurationError(f"--reserve takes a part, as 0.2, or {DEFAULT}: {text!r} is neither.") from None


def issue_key(
    account_name: str | None, name: str, author: str, *, public: bool, origins: Sequence[str], as_json: bool
) -> None:
    """Make an inbound key, and print it: only now."""
    if origins and not public:
        raise ConfigurationError("Only a public key has origins: add --public.")

    def work(connection: Connection) -> str:
        account, now = resolve_account(connection, account_name), system_clock()
        if public:
            return credential_service.issue_public_key(connection, account, name, origins, author, now)
        return credential_service.issue_key(connection, account, name, author, now)

    key = write(work)
    if as_json:
        output.print_json({"key": key})
        return
    if public:
        where = f"pages of {', '.join(origins)}" if origins else "apps"
        output.console.print(
            f"The public key, which is shown only now; enter it as the write key of Segment's SDK in {where}. "
            "Everybody can read it there: it may only identify."
        )
    else:
        output.console.print(
            "The key, which is shown only now; enter it as the API key of the destination in Segment:"
        )
    print(key)


def list_keys(account_name: str | None, *, as_json: bool) -> None:
    """Print an account's inbound keys by their fingerprints."""
    rows: list[list[Cell]] = [
        [
            each.fingerprint,
            each.name,
            each.origin.value,
            each.kind.value,
            ", ".join(each.origins or ()),
            *map(Time, (each.created_at, each.last_used_at, each.revoked_at)),
        ]
        for each in read(
            lambda connection: credentials.keys_of(connection, resolve_account(connection, account_name).id)
        )
    ]
    columns = ["Key", "Name", "From", "Kind", "Origins", "Created", "Last used", "Revoked"]
    output.print_rows(columns, rows, as_json=as_json, nothing="There is no key yet: `keys issue` makes one.")


def revoke_key(account_name: str | None, fingerprint: str, author: str, *, as_json: bool) -> None:
    """Refuse a key from now on."""
    write(
        lambda connection: credential_service.revoke_key(
            connection, resolve_account(connection, account_name), fingerprint, author, system_clock()
        )
    )
    if as_json:
        output.print_json({"revoked": fingerprint})
    else:
        output.console.print(f"{fingerprint} is refused within seconds.")


def issue_secret(account_name: str | None, name: str, author: str, *, as_json: bool) -> None:
    """Make a shared secret, and print it: only now."""
    settings = read_settings()
    vault = vault_from_settings(settings)

    def work(connection: Connection) -> tuple[str, str]:
        account = resolve_account(connection, account_name)
        return account.id, credential_service.issue_secret(connection, account, name, vault, author, system_clock())

    account_id, secret = write(work, settings)
    if as_json:
        output.print_json({"secret": secret, "path": f"/webhook/{account_id}"})
        return
    output.console.print(
        "The shared secret, which is shown only now; enter it in the settings of the webhook in Segment,"
    )
    output.console.print(f"with a URL of this service that ends in /webhook/{account_id}:")
    print(secret)


def list_secrets(account_name: str | None, *, as_json: bool) -> None:
    """Print an account's shared secrets by their ids."""
    rows: list[list[Cell]] = [
        [each.id, each.name, *map(Time, (each.created_at, each.last_used_at, each.revoked_at))]
        for each in read(
            lambda connection: credentials.secrets_of(connection, resolve_account(connection, account_name).id)
        )
    ]
    columns = ["Secret", "Name", "Created", "Last used", "Revoked"]
    output.print_rows(columns, rows, as_json=as_json, nothing="There is no secret yet: `secrets issue` makes one.")


def revoke_secret(account_name: str | None, secret_id: str, author: str, *, as_json: bool) -> None:
    """Refuse what a secret signs from now on."""
    write(
        lambda connection: credential_service.revoke_secret(
            connection, resolve_account(connection, account_name), secret_id, author, system_clock()
        )
    )
    if as_json:
        output.print_json({"revoked": secret_id})
    else:
        output.console.print(f"{secret_id} is refused within seconds.")


def list_sources(account_name: str | None, *, as_json: bool) -> None:
    """Print where an account's calls come from."""
    rows: list[list[Cell]] = []
    for each in read(
        lambda connection: sources.of_account(connection, resolve_account(connection, account_name).id)
    ):
        members = each.members if each.kind is SourceKind.AUDIENCE else None
        times = (Time(each.first_at), Time(each.last_at))
        rows.append([each.kind.value, each.key or "-", each.name, each.calls, members, *times])
    columns = ["Kind", "Source", "Library", "Calls", "In", "First", "Last"]
    output.print_rows(columns, rows, as_json=as_json, nothing="No calls came yet: `send` posts one.")


def show_audit(account_name: str | None, limit: int, *, as_json: bool) -> None:
    """Print who did what to an account, the newest first."""
    found = read(
        lambda connection: audit_log.recent(connection, resolve_account(connection, account_name).id, limit)
    )
    rows: list[list[Cell]] = []
    for each in found:
        told = ", ".join(f"{name}: {value}" for name, value in each.details.items())
        rows.append([Time(each.at), each.actor, each.action, dict(each.details) if as_json else told])
    output.print_rows(["When", "Who", "What", "Details"], rows, as_json=as_json, nothing="Nothing was done yet.")
