"""Implementation of `keys`, `secrets`, `tokens`, `connectors`, `password` and `reencrypt`."""

from collections.abc import Sequence
from dataclasses import asdict

from sqlalchemy import Connection

from prosperstack_destination.admin import operator_tokens as token_admin
from prosperstack_destination.auth import credential_service, key_rotation
from prosperstack_destination.auth.api_keys import fingerprint
from prosperstack_destination.auth.password import load_or_create_password
from prosperstack_destination.cli import output
from prosperstack_destination.cli.output import Cell, Time
from prosperstack_destination.cli.session import read, resolve_account, write
from prosperstack_destination.clock import system_clock
from prosperstack_destination.errors import ConfigurationError
from prosperstack_destination.settings import read_settings
from prosperstack_destination.store import connector_tokens, credentials, operator_tokens
from prosperstack_destination.vault import vault_from_settings


def issue_key(
    account_name: str | None, name: str, author: str, *, public: bool, origins: Sequence[str], as_json: bool
) -> None:
    """Issue an inbound key and print it. It cannot be printed again."""
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
        place = f"pages of {', '.join(origins)}" if origins else "apps"
        output.console.print(
            f"Public key, shown once. Enter it as the write key of Segment's SDK in {place}. "
            "It is readable there, and permits Identify calls only."
        )
    else:
        output.console.print("Key, shown once. Enter it as the API key of the destination in Segment:")
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
            lambda connection: credentials.list_keys(connection, resolve_account(connection, account_name).id)
        )
    ]
    columns = ["Key", "Name", "From", "Kind", "Origins", "Created", "Last used", "Revoked"]
    output.print_rows(columns, rows, as_json=as_json, nothing="No key yet. `keys issue` issues one.")


def revoke_key(account_name: str | None, fingerprint: str, author: str, *, as_json: bool) -> None:
    """Revoke an inbound key."""
    write(
        lambda connection: credential_service.revoke_key(
            connection, resolve_account(connection, account_name), fingerprint, author, system_clock()
        )
    )
    _print_revoked(fingerprint, as_json=as_json)


def issue_secret(account_name: str | None, name: str, author: str, *, as_json: bool) -> None:
    """Issue a shared secret and print it. It cannot be printed again."""
    settings = read_settings()
    vault = vault_from_settings(settings)

    def work(connection: Connection) -> tuple[str, str]:
        account = resolve_account(connection, account_name)
        return account.id, credential_service.issue_secret(connection, account, name, vault, author, system_clock())

    account_id, secret = write(work, settings)
    if as_json:
        output.print_json({"secret": secret, "path": f"/webhook/{account_id}"})
        return
    output.console.print("Shared secret, shown once. Enter it in the settings of the webhook in Segment,")
    output.console.print(f"with the URL of this service that ends in /webhook/{account_id}:")
    print(secret)


def list_secrets(account_name: str | None, *, as_json: bool) -> None:
    """Print an account's shared secrets by their IDs."""
    rows: list[list[Cell]] = [
        [each.id, each.name, *map(Time, (each.created_at, each.last_used_at, each.revoked_at))]
        for each in read(
            lambda connection: credentials.list_secrets(connection, resolve_account(connection, account_name).id)
        )
    ]
    columns = ["Secret", "Name", "Created", "Last used", "Revoked"]
    output.print_rows(columns, rows, as_json=as_json, nothing="No secret yet. `secrets issue` issues one.")


def revoke_secret(account_name: str | None, secret_id: str, author: str, *, as_json: bool) -> None:
    """Revoke a shared secret."""
    write(
        lambda connection: credential_service.revoke_secret(
            connection, resolve_account(connection, account_name), secret_id, author, system_clock()
        )
    )
    _print_revoked(secret_id, as_json=as_json)


def issue_token(name: str, author: str, *, as_json: bool) -> None:
    """Issue an operator token and print it. It cannot be printed again."""
    token = write(lambda connection: token_admin.issue(connection, name, author, system_clock()))
    if as_json:
        output.print_json({"token": token, "fingerprint": fingerprint(token)})
    else:
        print(token)


def list_tokens(*, as_json: bool) -> None:
    """Print the operator tokens by their fingerprints."""
    rows: list[list[Cell]] = [
        [each.fingerprint, each.name, Time(each.created_at), Time(each.revoked_at)]
        for each in read(operator_tokens.all_tokens)
    ]
    columns = ["Token", "Name", "Issued", "Revoked"]
    output.print_rows(columns, rows, as_json=as_json, nothing="No token yet. `tokens issue` issues one.")


def revoke_token(token: str, author: str, *, as_json: bool) -> None:
    """Revoke an operator token."""
    write(lambda connection: token_admin.revoke(connection, token, author, system_clock()))
    _print_revoked(token, as_json=as_json)


def issue_connector(account_name: str | None, name: str, author: str, *, as_json: bool) -> None:
    """Issue a connector token and print the paths that it opens. They cannot be printed again."""
    token = write(
        lambda connection: credential_service.issue_connector(
            connection, resolve_account(connection, account_name), name, author, system_clock()
        )
    )
    if as_json:
        output.print_json({"data_connector": f"/data-connector/{token}", "flow_webhook": f"/flow-webhook/{token}"})
        return
    output.console.print("Shown once. Enter the URL of this service with one of these paths in ProsperStack,")
    output.console.print("as the endpoint of a custom data connector, or of a webhook for flow_session_started:")
    print(f"/data-connector/{token}")
    print(f"/flow-webhook/{token}")


def list_connectors(account_name: str | None, *, as_json: bool) -> None:
    """Print an account's connector tokens by their fingerprints."""
    rows: list[list[Cell]] = [
        [each.fingerprint, each.name, *map(Time, (each.created_at, each.last_used_at, each.revoked_at))]
        for each in read(
            lambda connection: connector_tokens.of_account(connection, resolve_account(connection, account_name).id)
        )
    ]
    columns = ["Connector", "Name", "Created", "Last used", "Revoked"]
    output.print_rows(columns, rows, as_json=as_json, nothing="No connector yet. `connectors issue` issues one.")


def revoke_connector(account_name: str | None, fingerprint: str, author: str, *, as_json: bool) -> None:
    """Revoke a connector token."""
    write(
        lambda connection: credential_service.revoke_connector(
            connection, resolve_account(connection, account_name), fingerprint, author, system_clock()
        )
    )
    _print_revoked(fingerprint, as_json=as_json)


def _print_revoked(name: str, *, as_json: bool) -> None:
    if as_json:
        output.print_json({"revoked": name})
    else:
        output.console.print(f"{name} is revoked. The service refuses it within seconds.")


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
    counts = write(lambda connection: key_rotation.reencrypt(connection, vault, author, system_clock()), settings)
    if as_json:
        output.print_json(asdict(counts))
        return
    output.console.print(
        f"{counts.account_keys:,} ProsperStack keys, {counts.shared_secrets:,} shared secrets and "
        f"{counts.segment_tokens:,} tokens of Segment workspaces are encrypted with SECRET_KEY. Restart every "
        "process with it, then remove FORMER_SECRET_KEYS."
    )
