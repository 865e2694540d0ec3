"""Commands for inbound keys, shared secrets, operator tokens, connector tokens, and the dashboard's password."""

from dataclasses import asdict
from typing import Annotated, Final

import typer

from prosperstack_destination.admin import accounts, credentials
from prosperstack_destination.cli import output, session
from prosperstack_destination.cli.output import Cell, Time
from prosperstack_destination.cli.session import Account, Author, Json, Name
from prosperstack_destination.clock import system_clock
from prosperstack_destination.errors import ConfigurationError, InvalidInput
from prosperstack_destination.settings import read_settings
from prosperstack_destination.settings_vault import vault_from_settings
from prosperstack_destination.store.credentials import Credential, CredentialKind

app = typer.Typer()
keys_app = typer.Typer(help="Manage the keys that callers authenticate with.", no_args_is_help=True)
secrets_app = typer.Typer(help="Manage the shared secrets that sign webhooks.", no_args_is_help=True)
tokens_app = typer.Typer(help="Manage the tokens that operators use for the API.", no_args_is_help=True)
connectors_app = typer.Typer(
    help="Manage the URLs that ProsperStack calls when a subscriber starts to cancel.", no_args_is_help=True
)
app.add_typer(keys_app, name="keys")
app.add_typer(secrets_app, name="secrets")
app.add_typer(tokens_app, name="tokens")
app.add_typer(connectors_app, name="connectors")

_COLUMNS: Final = {
    CredentialKind.KEY: ("Key", "Name", "From", "Kind", "Origins", "Created", "Last used", "Revoked"),
    CredentialKind.SECRET: ("Secret", "Name", "Created", "Last used", "Revoked"),
    CredentialKind.CONNECTOR: ("Connector", "Name", "Created", "Last used", "Revoked"),
    CredentialKind.TOKEN: ("Token", "Name", "Issued", "Revoked"),
}


@keys_app.command("issue")
def issue_key(
    account: Account = None,
    name: Name = "",
    public: Annotated[
        bool,
        typer.Option(
            "--public", help="For a web page or an app, where the key is readable: it permits Identify calls only."
        ),
    ] = False,
    origin: Annotated[
        list[str] | None,
        typer.Option(
            "--origin", help="Origin of a page that may use a public key, as https://app.example.com; repeatable."
        ),
    ] = None,
    author: Author = "unknown",
    json: Json = False,
) -> None:
    """Issue a key for Segment, a server, a web page or an app. It is printed once, now."""
    origins = origin or []
    if origins and not public:
        raise InvalidInput("Only a public key has origins: add --public.")
    _, key = _issue(CredentialKind.KEY, account, name, author, origins if public else None)
    if json:
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


@keys_app.command("list")
def list_keys(account: Account = None, json: Json = False) -> None:
    """List the keys by fingerprint."""
    _list(CredentialKind.KEY, account, as_json=json)


@keys_app.command("revoke")
def revoke_key(
    key: Annotated[str, typer.Argument(help="Fingerprint of the key, from `keys list`.")],
    account: Account = None,
    author: Author = "unknown",
    json: Json = False,
) -> None:
    """Revoke a key. It is refused within seconds."""
    _revoke(CredentialKind.KEY, account, key, author, as_json=json)


@secrets_app.command("issue")
def issue_secret(account: Account = None, name: Name = "", author: Author = "unknown", json: Json = False) -> None:
    """Issue a shared secret for Segment's Webhooks (Actions) destination. It is printed once, now."""
    account_id, secret = _issue(CredentialKind.SECRET, account, name, author)
    if json:
        output.print_json({"secret": secret, "path": f"/webhook/{account_id}"})
        return
    output.console.print("Shared secret, shown once. Enter it in the settings of the webhook in Segment,")
    output.console.print(f"with the URL of this service that ends in /webhook/{account_id}:")
    print(secret)


@secrets_app.command("list")
def list_secrets(account: Account = None, json: Json = False) -> None:
    """List the shared secrets by ID."""
    _list(CredentialKind.SECRET, account, as_json=json)


@secrets_app.command("revoke")
def revoke_secret(
    secret: Annotated[str, typer.Argument(help="ID of the secret, from `secrets list`.")],
    account: Account = None,
    author: Author = "unknown",
    json: Json = False,
) -> None:
    """Revoke a shared secret. Webhooks signed with it are refused within seconds."""
    _revoke(CredentialKind.SECRET, account, secret, author, as_json=json)


@tokens_app.command("issue")
def issue_token(
    name: Annotated[str, typer.Option("--name", help="Name of the operator, recorded in the audit log.")],
    author: Author = "unknown",
    json: Json = False,
) -> None:
    """Issue an operator token for the API. It is printed once, now."""
    token = session.write(credentials.issue_token, name, author, system_clock())
    if json:
        output.print_json({"token": token.text, "fingerprint": token.id})
    else:
        print(token.text)


@tokens_app.command("list")
def list_tokens(json: Json = False) -> None:
    """List the operator tokens by fingerprint."""
    _print(
        CredentialKind.TOKEN, session.read(credentials.list_credentials, CredentialKind.TOKEN)[::-1], as_json=json
    )


@tokens_app.command("revoke")
def revoke_token(
    token: Annotated[str, typer.Argument(help="Fingerprint of the token, from `tokens list`.")],
    author: Author = "unknown",
    json: Json = False,
) -> None:
    """Revoke an operator token. It is refused within seconds."""
    session.write(credentials.revoke, CredentialKind.TOKEN, None, token, author, system_clock())
    _print_revoked(token, as_json=json)


@connectors_app.command("issue")
def issue_connector(
    account: Account = None, name: Name = "", author: Author = "unknown", json: Json = False
) -> None:
    """Issue a token for ProsperStack's data connector and flow webhook. The paths are printed once, now."""
    _, token = _issue(CredentialKind.CONNECTOR, account, name, author)
    if json:
        output.print_json({"data_connector": f"/data-connector/{token}", "flow_webhook": f"/flow-webhook/{token}"})
        return
    output.console.print("Shown once. Enter the URL of this service with one of these paths in ProsperStack,")
    output.console.print("as the endpoint of a custom data connector, or of a webhook for flow_session_started:")
    print(f"/data-connector/{token}")
    print(f"/flow-webhook/{token}")


@connectors_app.command("list")
def list_connectors(account: Account = None, json: Json = False) -> None:
    """List the connector tokens by fingerprint."""
    _list(CredentialKind.CONNECTOR, account, as_json=json)


@connectors_app.command("revoke")
def revoke_connector(
    token: Annotated[str, typer.Argument(help="Fingerprint of the token, from `connectors list`.")],
    account: Account = None,
    author: Author = "unknown",
    json: Json = False,
) -> None:
    """Revoke a connector token. It is refused within seconds."""
    _revoke(CredentialKind.CONNECTOR, account, token, author, as_json=json)


@app.command()
def password(json: Json = False) -> None:
    """Print the generated password of the dashboard. It exists if ADMIN_PASSWORD is not set."""
    settings = read_settings()
    if settings.admin_password is not None:
        raise ConfigurationError("ADMIN_PASSWORD is set: it is the password, and none was generated.")
    generated = session.write(credentials.generated_password, vault_from_settings(settings))
    output.print_facts({"Password": generated.text}, as_json=json)


@app.command()
def reencrypt(author: Author = "unknown", json: Json = False) -> None:
    """Encrypt every stored key again with SECRET_KEY. FORMER_SECRET_KEYS are not needed afterwards."""
    vault = vault_from_settings(read_settings())
    counts = session.write(credentials.reencrypt, vault, author, system_clock())
    if json:
        output.print_json(asdict(counts))
        return
    output.console.print(
        f"{counts.account_keys:,} ProsperStack keys, {counts.shared_secrets:,} shared secrets and "
        f"{counts.segment_tokens:,} tokens of Segment workspaces are encrypted with SECRET_KEY. Restart every "
        "process with it, then remove FORMER_SECRET_KEYS."
    )


def _issue(
    kind: CredentialKind, account: str | None, name: str, author: str, origins: list[str] | None = None
) -> tuple[str, str]:
    """Issue a credential, and return the ID of its account and the credential, which cannot be printed again."""
    vault = vault_from_settings(read_settings())
    found = session.write(accounts.resolve, account)
    issued = session.write(credentials.issue, kind, found, name, vault, author, system_clock(), origins)
    return found.id, issued.text


def _list(kind: CredentialKind, account: str | None, *, as_json: bool) -> None:
    """Print an account's credentials of a kind by their IDs."""
    found = session.read(accounts.resolve, account)
    _print(kind, session.read(credentials.list_credentials, kind, found), as_json=as_json)


def _print(kind: CredentialKind, rows: list[Credential], *, as_json: bool) -> None:
    nothing = f"No {kind} yet. `{kind}s issue` issues one."
    output.print_rows(list(_COLUMNS[kind]), [_cells(each) for each in rows], as_json=as_json, nothing=nothing)


def _revoke(kind: CredentialKind, account: str | None, credential_id: str, author: str, *, as_json: bool) -> None:
    found = session.write(accounts.resolve, account)
    session.write(credentials.revoke, kind, found, credential_id, author, system_clock())
    _print_revoked(credential_id, as_json=as_json)


def _print_revoked(credential_id: str, *, as_json: bool) -> None:
    if as_json:
        output.print_json({"revoked": credential_id})
    else:
        output.console.print(f"{credential_id} is revoked. The service refuses it within seconds.")


def _cells(credential: Credential) -> list[Cell]:
    """Return the cells of a row, in the order of the kind's columns."""
    cells: list[Cell] = [credential.id, credential.name]
    if credential.origin is not None:
        cells += [credential.origin.value, credential.key_kind.value, ", ".join(credential.origins or ())]
    cells.append(Time(credential.created_at))
    if credential.kind is not CredentialKind.TOKEN:
        cells.append(Time(credential.last_used_at))
    return [*cells, Time(credential.revoked_at)]
