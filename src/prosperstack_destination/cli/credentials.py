"""Implementation of `keys`, `secrets`, `tokens`, `connectors`, `password` and `reencrypt`."""

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import Final

from sqlalchemy import Connection

from prosperstack_destination.auth import credentials as issuing
from prosperstack_destination.auth.credentials import Issued
from prosperstack_destination.auth.operators import load_or_create_password
from prosperstack_destination.auth.vault import reencrypt_all
from prosperstack_destination.cli import output
from prosperstack_destination.cli.output import Cell, Time
from prosperstack_destination.cli.session import read, resolve_account, write
from prosperstack_destination.clock import system_clock
from prosperstack_destination.errors import ConfigurationError
from prosperstack_destination.settings import read_settings
from prosperstack_destination.store import credentials
from prosperstack_destination.store.credentials import Credential, CredentialKind
from prosperstack_destination.vault import vault_from_settings

_COLUMNS: Final = {
    CredentialKind.KEY: ("Key", "Name", "From", "Kind", "Origins", "Created", "Last used", "Revoked"),
    CredentialKind.SECRET: ("Secret", "Name", "Created", "Last used", "Revoked"),
    CredentialKind.CONNECTOR: ("Connector", "Name", "Created", "Last used", "Revoked"),
    CredentialKind.TOKEN: ("Token", "Name", "Issued", "Revoked"),
}


def issue_key(
    account_name: str | None, name: str, author: str, *, public: bool, origins: Sequence[str], as_json: bool
) -> None:
    """Issue an inbound key and print it. It cannot be printed again."""
    if origins and not public:
        raise ConfigurationError("Only a public key has origins: add --public.")

    def work(connection: Connection) -> Issued:
        account = resolve_account(connection, account_name)
        allowed = origins if public else None
        return issuing.issue_key(connection, account, name, author, system_clock(), origins=allowed)

    key = write(work).text
    if as_json:
        output.print_json({"key": key})
        return
    if public:
        place = f"pages of {', '.join(origins)}" if origins else "apps"
        output.console.print(
            f"Public key, shown once. Enter it as the write key of Segment's SDK in {place}. "
            "It is readable there, and permits Identify calls only."
        )
    else:
        output.console.print("Key, shown once. Enter it as the API key of the destination in Segment:")
    print(key)


def issue_secret(account_name: str | None, name: str, author: str, *, as_json: bool) -> None:
    """Issue a shared secret and print it. It cannot be printed again."""
    settings = read_settings()
    vault = vault_from_settings(settings)

    def work(connection: Connection) -> tuple[str, str]:
        account = resolve_account(connection, account_name)
        return account.id, issuing.issue_secret(connection, account, name, vault, author, system_clock()).text

    account_id, secret = write(work, settings)
    if as_json:
        output.print_json({"secret": secret, "path": f"/webhook/{account_id}"})
        return
    output.console.print("Shared secret, shown once. Enter it in the settings of the webhook in Segment,")
    output.console.print(f"with the URL of this service that ends in /webhook/{account_id}:")
    print(secret)


def issue_token(name: str, author: str, *, as_json: bool) -> None:
    """Issue an operator token and print it. It cannot be printed again."""
    token = write(lambda connection: issuing.issue_token(connection, name, author, system_clock()))
    if as_json:
        output.print_json({"token": token.text, "fingerprint": token.id})
    else:
        print(token.text)


def issue_connector(account_name: str | None, name: str, author: str, *, as_json: bool) -> None:
    """Issue a connector token and print the paths that it opens. They cannot be printed again."""
    token = write(
        lambda connection: issuing.issue_connector(
            connection, resolve_account(connection, account_name), name, author, system_clock()
        )
    ).text
    if as_json:
        output.print_json({"data_connector": f"/data-connector/{token}", "flow_webhook": f"/flow-webhook/{token}"})
        return
    output.console.print("Shown once. Enter the URL of this service with one of these paths in ProsperStack,")
    output.console.print("as the endpoint of a custom data connector, or of a webhook for flow_session_started:")
    print(f"/data-connector/{token}")
    print(f"/flow-webhook/{token}")


def list_credentials(kind: CredentialKind, account_name: str | None, *, as_json: bool) -> None:
    """Print an account's credentials of a kind, or the operator tokens, by their IDs."""
    rows = read(partial(_load, kind=kind, account_name=account_name))
    nothing = f"No {kind} yet. `{kind}s issue` issues one."
    output.print_rows(list(_COLUMNS[kind]), [_cells(each) for each in rows], as_json=as_json, nothing=nothing)


def revoke(
    kind: CredentialKind, account_name: str | None, credential_id: str, author: str, *, as_json: bool
) -> None:
    """Revoke a credential of an account, or an operator token."""

    def work(connection: Connection) -> None:
        account = None if kind is CredentialKind.TOKEN else resolve_account(connection, account_name)
        issuing.revoke(connection, kind, account, credential_id, author, system_clock())

    write(work)
    if as_json:
        output.print_json({"revoked": credential_id})
    else:
        output.console.print(f"{credential_id} is revoked. The service refuses it within seconds.")


def _load(connection: Connection, kind: CredentialKind, account_name: str | None) -> list[Credential]:
    """Return an account's credentials, the newest first; or all operator tokens, the oldest first."""
    if kind is CredentialKind.TOKEN:
        return credentials.of_kind(connection, kind)[::-1]
    return credentials.of_kind(connection, kind, resolve_account(connection, account_name).id)


def _cells(credential: Credential) -> list[Cell]:
    """Return the cells of a row, in the order of the kind's columns."""
    cells: list[Cell] = [credential.id, credential.name]
    if credential.origin is not None:
        cells += [credential.origin.value, credential.key_kind.value, ", ".join(credential.origins or ())]
    cells.append(Time(credential.created_at))
    if credential.kind is not CredentialKind.TOKEN:
        cells.append(Time(credential.last_used_at))
    return [*cells, Time(credential.revoked_at)]


def show_password(*, as_json: bool) -> None:
    """Print the generated dashboard password, creating it if there is none.

    Raises `ConfigurationError` if ADMIN_PASSWORD is set.
    """
    settings = read_settings()
    if settings.admin_password is not None:
        raise ConfigurationError("ADMIN_PASSWORD is set: it is the password, and none was generated.")
    password = write(
        lambda connection: load_or_create_password(connection, vault_from_settings(settings), None), settings
    )
    output.print_facts({"Password": password.text}, as_json=as_json)


def reencrypt(author: str, *, as_json: bool) -> None:
    """Encrypt every stored secret with SECRET_KEY, the second step of its rotation. It may be repeated."""
    settings = read_settings()
    vault = vault_from_settings(settings)
    counts = write(lambda connection: reencrypt_all(connection, vault, author, system_clock()), settings)
    if as_json:
        output.print_json(asdict(counts))
        return
    output.console.print(
        f"{counts.account_keys:,} ProsperStack keys, {counts.shared_secrets:,} shared secrets and "
        f"{counts.segment_tokens:,} tokens of Segment workspaces are encrypted with SECRET_KEY. Restart every "
        "process with it, then remove FORMER_SECRET_KEYS."
    )
