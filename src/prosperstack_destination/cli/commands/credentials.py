"""What callers, operators and ProsperStack show to be let in: issued once, listed, revoked."""

from typing import Annotated

import typer

from prosperstack_destination.cli.options import Account, Author, Json, Name

keys_app = typer.Typer(help="The keys that callers show.", no_args_is_help=True)
secrets_app = typer.Typer(help="The secrets that sign webhooks.", no_args_is_help=True)
tokens_app = typer.Typer(help="The tokens that operators show to the API.", no_args_is_help=True)
connectors_app = typer.Typer(
    help="The URLs that ProsperStack calls when somebody begins to cancel.", no_args_is_help=True
)


@keys_app.command("issue")
def keys_issue(
    account: Account = None,
    name: Name = "",
    public: Annotated[
        bool,
        typer.Option(
            "--public", help="For a web page or an app, where everybody can read it: it may only identify."
        ),
    ] = False,
    origin: Annotated[
        list[str] | None,
        typer.Option(
            "--origin", help="A page that may show a public key, as https://app.example.com; may be repeated."
        ),
    ] = None,
    author: Author = "unknown",
    json: Json = False,
) -> None:
    """Make a key for Segment, a server, a web page or an app to show, and print it: only now."""
    from prosperstack_destination.cli.accounts import issue_key

    issue_key(account, name, author, public=public, origins=origin or [], as_json=json)


@keys_app.command("list")
def keys_list(account: Account = None, json: Json = False) -> None:
    """Print the keys, never whole."""
    from prosperstack_destination.cli.accounts import list_keys

    list_keys(account, as_json=json)


@keys_app.command("revoke")
def keys_revoke(
    key: Annotated[str, typer.Argument(help="Its fingerprint, as `keys list` shows it.")],
    account: Account = None,
    author: Author = "unknown",
    json: Json = False,
) -> None:
    """Refuse a key from now on."""
    from prosperstack_destination.cli.accounts import revoke_key

    revoke_key(account, key, author, as_json=json)


@secrets_app.command("issue")
def secrets_issue(account: Account = None, name: Name = "", author: Author = "unknown", json: Json = False) -> None:
    """Make a shared secret for Segment's Webhooks (Actions) destination, and print it: only now."""
    from prosperstack_destination.cli.accounts import issue_secret

    issue_secret(account, name, author, as_json=json)


@secrets_app.command("list")
def secrets_list(account: Account = None, json: Json = False) -> None:
    """Print the shared secrets, never whole."""
    from prosperstack_destination.cli.accounts import list_secrets

    list_secrets(account, as_json=json)


@secrets_app.command("revoke")
def secrets_revoke(
    secret: Annotated[str, typer.Argument(help="Its id, as `secrets list` shows it.")],
    account: Account = None,
    author: Author = "unknown",
    json: Json = False,
) -> None:
    """Refuse what a shared secret signs from now on."""
    from prosperstack_destination.cli.accounts import revoke_secret

    revoke_secret(account, secret, author, as_json=json)


@tokens_app.command("issue")
def tokens_issue(
    name: Annotated[str, typer.Option("--name", help="Who it is for: the author of what is done with it.")],
    author: Author = "unknown",
    json: Json = False,
) -> None:
    """Make a token for the API, and print it: only now."""
    from prosperstack_destination.cli.tokens import issue

    issue(name, author, as_json=json)


@tokens_app.command("list")
def tokens_list(json: Json = False) -> None:
    """Print the tokens, never whole."""
    from prosperstack_destination.cli.tokens import list_tokens

    list_tokens(as_json=json)


@tokens_app.command("revoke")
def tokens_revoke(
    token: Annotated[str, typer.Argument(help="Its fingerprint, as `tokens list` shows it.")],
    author: Author = "unknown",
    json: Json = False,
) -> None:
    """Refuse a token from now on."""
    from prosperstack_destination.cli.tokens import revoke

    revoke(token, author, as_json=json)


@connectors_app.command("issue")
def connectors_issue(
    account: Account = None, name: Name = "", author: Author = "unknown", json: Json = False
) -> None:
    """Make a token for ProsperStack's data connector and webhooks, and print the paths: only now."""
    from prosperstack_destination.cli.connectors import issue

    issue(account, name, author, as_json=json)


@connectors_app.command("list")
def connectors_list(account: Account = None, json: Json = False) -> None:
    """Print the tokens, never whole."""
    from prosperstack_destination.cli.connectors import list_tokens

    list_tokens(account, as_json=json)


@connectors_app.command("revoke")
def connectors_revoke(
    token: Annotated[str, typer.Argument(help="Its fingerprint, as `connectors list` shows it.")],
    account: Account = None,
    author: Author = "unknown",
    json: Json = False,
) -> None:
    """Refuse a token from now on."""
    from prosperstack_destination.cli.connectors import revoke

    revoke(account, token, author, as_json=json)


def add_to(app: typer.Typer) -> None:
    """Add these groups to the command line."""
    app.add_typer(keys_app, name="keys")
    app.add_typer(secrets_app, name="secrets")
    app.add_typer(tokens_app, name="tokens")
    app.add_typer(connectors_app, name="connectors")
