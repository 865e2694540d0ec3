"""Commands for credentials: inbound keys, shared secrets, operator tokens, connector tokens."""

from typing import Annotated

import typer

from prosperstack_destination.cli.options import Account, Author, Json, Name

keys_app = typer.Typer(help="Manage the keys that callers authenticate with.", no_args_is_help=True)
secrets_app = typer.Typer(help="Manage the shared secrets that sign webhooks.", no_args_is_help=True)
tokens_app = typer.Typer(help="Manage the tokens that operators use for the API.", no_args_is_help=True)
connectors_app = typer.Typer(
    help="Manage the URLs that ProsperStack calls when a subscriber starts to cancel.", no_args_is_help=True
)


@keys_app.command("issue")
def keys_issue(
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
    from prosperstack_destination.cli.credentials import issue_key

    issue_key(account, name, author, public=public, origins=origin or [], as_json=json)


@keys_app.command("list")
def keys_list(account: Account = None, json: Json = False) -> None:
    """List the keys by fingerprint."""
    from prosperstack_destination.cli.credentials import list_credentials
    from prosperstack_destination.store.credentials import CredentialKind

    list_credentials(CredentialKind.KEY, account, as_json=json)


@keys_app.command("revoke")
def keys_revoke(
    key: Annotated[str, typer.Argument(help="Fingerprint of the key, from `keys list`.")],
    account: Account = None,
    author: Author = "unknown",
    json: Json = False,
) -> None:
    """Revoke a key. It is refused within seconds."""
    from prosperstack_destination.cli.credentials import revoke
    from prosperstack_destination.store.credentials import CredentialKind

    revoke(CredentialKind.KEY, account, key, author, as_json=json)


@secrets_app.command("issue")
def secrets_issue(account: Account = None, name: Name = "", author: Author = "unknown", json: Json = False) -> None:
    """Issue a shared secret for Segment's Webhooks (Actions) destination. It is printed once, now."""
    from prosperstack_destination.cli.credentials import issue_secret

    issue_secret(account, name, author, as_json=json)


@secrets_app.command("list")
def secrets_list(account: Account = None, json: Json = False) -> None:
    """List the shared secrets by ID."""
    from prosperstack_destination.cli.credentials import list_credentials
    from prosperstack_destination.store.credentials import CredentialKind

    list_credentials(CredentialKind.SECRET, account, as_json=json)


@secrets_app.command("revoke")
def secrets_revoke(
    secret: Annotated[str, typer.Argument(help="ID of the secret, from `secrets list`.")],
    account: Account = None,
    author: Author = "unknown",
    json: Json = False,
) -> None:
    """Revoke a shared secret. Webhooks signed with it are refused within seconds."""
    from prosperstack_destination.cli.credentials import revoke
    from prosperstack_destination.store.credentials import CredentialKind

    revoke(CredentialKind.SECRET, account, secret, author, as_json=json)


@tokens_app.command("issue")
def tokens_issue(
    name: Annotated[str, typer.Option("--name", help="Name of the operator, recorded in the audit log.")],
    author: Author = "unknown",
    json: Json = False,
) -> None:
    """Issue an operator token for the API. It is printed once, now."""
    from prosperstack_destination.cli.credentials import issue_token

    issue_token(name, author, as_json=json)


@tokens_app.command("list")
def tokens_list(json: Json = False) -> None:
    """List the operator tokens by fingerprint."""
    from prosperstack_destination.cli.credentials import list_credentials
    from prosperstack_destination.store.credentials import CredentialKind

    list_credentials(CredentialKind.TOKEN, None, as_json=json)


@tokens_app.command("revoke")
def tokens_revoke(
    token: Annotated[str, typer.Argument(help="Fingerprint of the token, from `tokens list`.")],
    author: Author = "unknown",
    json: Json = False,
) -> None:
    """Revoke an operator token. It is refused within seconds."""
    from prosperstack_destination.cli.credentials import revoke
    from prosperstack_destination.store.credentials import CredentialKind

    revoke(CredentialKind.TOKEN, None, token, author, as_json=json)


@connectors_app.command("issue")
def connectors_issue(
    account: Account = None, name: Name = "", author: Author = "unknown", json: Json = False
) -> None:
    """Issue a token for ProsperStack's data connector and flow webhook. The paths are printed once, now."""
    from prosperstack_destination.cli.credentials import issue_connector

    issue_connector(account, name, author, as_json=json)


@connectors_app.command("list")
def connectors_list(account: Account = None, json: Json = False) -> None:
    """List the connector tokens by fingerprint."""
    from prosperstack_destination.cli.credentials import list_credentials
    from prosperstack_destination.store.credentials import CredentialKind

    list_credentials(CredentialKind.CONNECTOR, account, as_json=json)


@connectors_app.command("revoke")
def connectors_revoke(
    token: Annotated[str, typer.Argument(help="Fingerprint of the token, from `connectors list`.")],
    account: Account = None,
    author: Author = "unknown",
    json: Json = False,
) -> None:
    """Revoke a connector token. It is refused within seconds."""
    from prosperstack_destination.cli.credentials import revoke
    from prosperstack_destination.store.credentials import CredentialKind

    revoke(CredentialKind.CONNECTOR, account, token, author, as_json=json)


def password(json: Json = False) -> None:
    """Print the generated password of the dashboard. It exists if ADMIN_PASSWORD is not set."""
    from prosperstack_destination.cli.credentials import show_password

    show_password(as_json=json)


def reencrypt(author: Author = "unknown", json: Json = False) -> None:
    """Encrypt every stored key again with SECRET_KEY. FORMER_SECRET_KEYS are not needed afterwards."""
    from prosperstack_destination.cli.credentials import reencrypt

    reencrypt(author, as_json=json)


def add_to(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.add_typer(keys_app, name="keys")
    app.add_typer(secrets_app, name="secrets")
    app.add_typer(tokens_app, name="tokens")
    app.add_typer(connectors_app, name="connectors")
    app.command()(password)
    app.command()(reencrypt)
