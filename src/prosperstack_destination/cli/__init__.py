"""The command line: a face of the service, for developers and operators.

Each command is in a module of its own, which is imported when the command is run: ``--help`` stays quick.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from prosperstack_destination import __version__
from prosperstack_destination.cli.operations import Account as _Account
from prosperstack_destination.cli.operations import Author as _Author
from prosperstack_destination.cli.operations import Json as _Json
from prosperstack_destination.cli.operations import add_operations
from prosperstack_destination.errors import DestinationError
from prosperstack_destination.settings import Role
from prosperstack_destination.state.accounts import OnDelete

app = typer.Typer(
    name="prosperstack-destination",
    help="A Segment destination for ProsperStack: traits become, and stay, subscribers' custom properties.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
mappings_app = typer.Typer(help="The rules that say which trait feeds which property.", no_args_is_help=True)
accounts_app = typer.Typer(help="Whose ProsperStack is written to.", no_args_is_help=True)
keys_app = typer.Typer(help="The keys that callers show.", no_args_is_help=True)
secrets_app = typer.Typer(help="The secrets that sign webhooks.", no_args_is_help=True)
tokens_app = typer.Typer(help="The tokens that operators show to the API.", no_args_is_help=True)
app.add_typer(tokens_app, name="tokens")
db_app = typer.Typer(help="The database as a whole.", no_args_is_help=True)
app.add_typer(db_app, name="db")
connectors_app = typer.Typer(
    help="The URLs that ProsperStack calls when somebody begins to cancel.", no_args_is_help=True
)
app.add_typer(mappings_app, name="mappings")
app.add_typer(accounts_app, name="accounts")
app.add_typer(keys_app, name="keys")
app.add_typer(secrets_app, name="secrets")
app.add_typer(connectors_app, name="connectors")

#: What ``make run`` and ``sandbox`` use, so that ``send`` finds them.
SANDBOX_PORT = 8701
SANDBOX_KEY = "key_test_sandbox"

_Name = Annotated[str, typer.Option("--name", help="What to call it.")]


def main() -> None:
    """Run the command line; what goes wrong on purpose is told in a sentence, without a traceback."""
    try:
        app()
    except DestinationError as error:
        # An error may quote brackets, and places that a narrow line would tear apart.
        Console(stderr=True, soft_wrap=True).print(f"[red]Error:[/red] {escape(str(error))}", highlight=False)
        sys.exit(1)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on; overrides HOST.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port to listen on; overrides PORT.")] = None,
    role: Annotated[
        Role | None, typer.Option(help="Take calls, write to ProsperStack, or both; overrides ROLE.")
    ] = None,
    with_sandbox: Annotated[
        bool,
        typer.Option(
            "--with-sandbox",
            help="Where neither PROSPERSTACK_API_KEY nor PROSPERSTACK_BASE_URL is set, "
            "start a ProsperStack sandbox and use it.",
        ),
    ] = False,
    sandbox_port: Annotated[int, typer.Option(min=1, max=65535, help="Where that sandbox listens.")] = SANDBOX_PORT,
) -> None:
    """Run the service: it takes Identify calls and keeps ProsperStack's subscribers up to date."""
    from prosperstack_destination.cli.serve import run

    run(host=host, port=port, role=role, sandbox_port=sandbox_port if with_sandbox else None)


@app.command()
def sandbox(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")] = SANDBOX_PORT,
    subscribers: Annotated[int, typer.Option(min=1, help="How many there are in each account.")] = 1000,
    rate_limit: Annotated[int, typer.Option(min=1, help="Requests a window.")] = 100,
    window: Annotated[float, typer.Option(min=0.1, help="How long a window is, in seconds.")] = 60.0,
    latency: Annotated[float, typer.Option(min=0, help="How long each answer takes, in milliseconds.")] = 0.0,
    seed: Annotated[int, typer.Option(help="The same seed gives the same subscribers.")] = 1,
    key: Annotated[
        list[str] | None, typer.Option(help=f"An API key, each with an account of its own; {SANDBOX_KEY}.")
    ] = None,
    journal: Annotated[
        Path | None, typer.Option(help="Keep what is written in this file, for the next start.")
    ] = None,
) -> None:
    """Run a stand-in for ProsperStack's API, with subscribers to write to."""
    from prosperstack_destination.cli.sandbox import run
    from prosperstack_destination.sandbox import SandboxConfig

    config = SandboxConfig(
        subscribers=subscribers,
        rate_limit=rate_limit,
        window_seconds=window,
        latency_ms=latency,
        seed=seed,
        keys=tuple(key or [SANDBOX_KEY]),
        journal=journal,
    )
    run(host, port, config)


@app.command()
def send(
    file: Annotated[
        Path | None,
        typer.Argument(help="A JSON file (one call, or an array of them) or JSONL; else the documented example."),
    ] = None,
    to: Annotated[str, typer.Option(help="Where to post.")] = "http://127.0.0.1:8700/identify",
    key: Annotated[str, typer.Option(envvar="SEGMENT_KEY", help="The API key to show.")] = SANDBOX_KEY,
    prosperstack_url: Annotated[
        str, typer.Option(help="The sandbox, to see what came of it.")
    ] = f"http://127.0.0.1:{SANDBOX_PORT}/v1",
    wait: Annotated[
        float, typer.Option(min=0, help="How long to wait for the properties to change, in seconds.")
    ] = 10.0,
) -> None:
    """Post Identify calls to the service and show what came of them."""
    from prosperstack_destination.cli.send import run

    if not run(file, to=to, key=key, prosperstack_url=prosperstack_url, wait=wait):
        raise typer.Exit(1)


_MappingFile = Annotated[Path, typer.Argument(help="The mapping, as YAML.")]


@mappings_app.command("validate")
def mappings_validate(file: _MappingFile, account: _Account = None) -> None:
    """Check a file, and apply nothing."""
    from prosperstack_destination.cli.mappings import validate

    validate(file, account)


@mappings_app.command("show")
def mappings_show(
    account: _Account = None,
    version: Annotated[int | None, typer.Option(min=0, help="An earlier version; else the one in force.")] = None,
) -> None:
    """Print the mapping in force, in the form that `apply` takes."""
    from prosperstack_destination.cli.mappings import show

    show(account, version)


@mappings_app.command("diff")
def mappings_diff(file: _MappingFile, account: _Account = None) -> None:
    """Show what a file would change for the profiles that are stored, and what that would cost."""
    from prosperstack_destination.cli.mappings import diff

    diff(file, account)


@mappings_app.command("apply")
def mappings_apply(
    file: _MappingFile,
    account: _Account = None,
    author: _Author = "unknown",
    based_on: Annotated[
        int | None, typer.Option(min=0, help="Refuse if another version than this one is in force.")
    ] = None,
    allow_unknown: Annotated[
        bool, typer.Option("--allow-unknown", help="Take rules for properties that the account does not have yet.")
    ] = False,
) -> None:
    """Put the mapping of a file in force, for every profile already received as well."""
    from prosperstack_destination.cli.mappings import apply

    apply(file, account, author, based_on=based_on, allow_unknown=allow_unknown)


@mappings_app.command("history")
def mappings_history(
    account: _Account = None, limit: Annotated[int, typer.Option(min=1, help="How many versions.")] = 20
) -> None:
    """Show the versions that were applied: when, by whom."""
    from prosperstack_destination.cli.mappings import history

    history(account, limit)


@mappings_app.command("rollback")
def mappings_rollback(
    version: Annotated[
        int | None, typer.Argument(min=0, help="The version to go back to; else the one before.")
    ] = None,
    account: _Account = None,
    author: _Author = "unknown",
) -> None:
    """Put an earlier version in force again."""
    from prosperstack_destination.cli.mappings import roll_back

    roll_back(account, version, author)


@mappings_app.command("schema")
def mappings_schema() -> None:
    """Print the JSON Schema of mapping files, by which editors complete them."""
    from prosperstack_destination.cli.mappings import schema

    schema()


@accounts_app.command("list")
def accounts_list(json: _Json = False) -> None:
    """Print every account."""
    from prosperstack_destination.cli.accounts import list_accounts

    list_accounts(as_json=json)


@accounts_app.command("add")
def accounts_add(author: _Author = "unknown", json: _Json = False) -> None:
    """Open an account for a ProsperStack API key, which is asked for, or read from standard input."""
    from prosperstack_destination.cli.accounts import add_account

    add_account(author, as_json=json)


@accounts_app.command("rekey")
def accounts_rekey(account: _Account = None, author: _Author = "unknown", json: _Json = False) -> None:
    """Have an account use another ProsperStack API key, which is asked for, or read from standard input."""
    from prosperstack_destination.cli.accounts import replace_key

    replace_key(account, author, as_json=json)


@accounts_app.command("set")
def accounts_set(
    on_delete: Annotated[OnDelete, typer.Option(help="What a deletion (GDPR, CCPA) does in ProsperStack.")],
    account: _Account = None,
    author: _Author = "unknown",
) -> None:
    """Change an account."""
    from prosperstack_destination.cli.accounts import set_on_delete

    set_on_delete(account, on_delete, author)


@keys_app.command("issue")
def keys_issue(
    account: _Account = None, name: _Name = "", author: _Author = "unknown", json: _Json = False
) -> None:
    """Make a key for Segment to show, and print it: only now."""
    from prosperstack_destination.cli.accounts import issue_key

    issue_key(account, name, author, as_json=json)


@keys_app.command("list")
def keys_list(account: _Account = None, json: _Json = False) -> None:
    """Print the keys, never whole."""
    from prosperstack_destination.cli.accounts import list_keys

    list_keys(account, as_json=json)


@keys_app.command("revoke")
def keys_revoke(
    key: Annotated[str, typer.Argument(help="Its fingerprint, as `keys list` shows it.")],
    account: _Account = None,
    author: _Author = "unknown",
    json: _Json = False,
) -> None:
    """Refuse a key from now on."""
    from prosperstack_destination.cli.accounts import revoke_key

    revoke_key(account, key, author, as_json=json)


@secrets_app.command("issue")
def secrets_issue(
    account: _Account = None, name: _Name = "", author: _Author = "unknown", json: _Json = False
) -> None:
    """Make a shared secret for Segment's Webhooks (Actions) destination, and print it: only now."""
    from prosperstack_destination.cli.accounts import issue_secret

    issue_secret(account, name, author, as_json=json)


@secrets_app.command("list")
def secrets_list(account: _Account = None, json: _Json = False) -> None:
    """Print the shared secrets, never whole."""
    from prosperstack_destination.cli.accounts import list_secrets

    list_secrets(account, as_json=json)


@secrets_app.command("revoke")
def secrets_revoke(
    secret: Annotated[str, typer.Argument(help="Its id, as `secrets list` shows it.")],
    account: _Account = None,
    author: _Author = "unknown",
    json: _Json = False,
) -> None:
    """Refuse what a shared secret signs from now on."""
    from prosperstack_destination.cli.accounts import revoke_secret

    revoke_secret(account, secret, author, as_json=json)


@connectors_app.command("issue")
def connectors_issue(
    account: _Account = None, name: _Name = "", author: _Author = "unknown", json: _Json = False
) -> None:
    """Make a token for ProsperStack's data connector and webhooks, and print the paths: only now."""
    from prosperstack_destination.cli.connectors import issue

    issue(account, name, author, as_json=json)


@connectors_app.command("list")
def connectors_list(account: _Account = None, json: _Json = False) -> None:
    """Print the tokens, never whole."""
    from prosperstack_destination.cli.connectors import list_tokens

    list_tokens(account, as_json=json)


@connectors_app.command("revoke")
def connectors_revoke(
    token: Annotated[str, typer.Argument(help="Its fingerprint, as `connectors list` shows it.")],
    account: _Account = None,
    author: _Author = "unknown",
    json: _Json = False,
) -> None:
    """Refuse a token from now on."""
    from prosperstack_destination.cli.connectors import revoke

    revoke(account, token, author, as_json=json)


@tokens_app.command("issue")
def tokens_issue(
    name: Annotated[str, typer.Option("--name", help="Who it is for: the author of what is done with it.")],
) -> None:
    """Make a token for the API, and print it: only now."""
    from prosperstack_destination.cli.tokens import issue

    issue(name)


@tokens_app.command("list")
def tokens_list() -> None:
    """Print the tokens, never whole."""
    from prosperstack_destination.cli.tokens import list_tokens

    list_tokens()


@tokens_app.command("revoke")
def tokens_revoke(
    token: Annotated[str, typer.Argument(help="Its fingerprint, as `tokens list` shows it.")],
) -> None:
    """Refuse a token from now on."""
    from prosperstack_destination.cli.tokens import revoke

    revoke(token)


@db_app.command("upgrade")
def db_upgrade() -> None:
    """Bring the schema up to date; `serve` does that by itself as well."""
    from prosperstack_destination.cli.db import upgrade

    upgrade()


@db_app.command("export")
def db_export(
    file: Annotated[str, typer.Argument(help="A file, which is gone on with if it was broken off, or -.")],
) -> None:
    """Write everything in the database to a file, as lines of JSON, for `import` on SQLite or PostgreSQL."""
    from prosperstack_destination.cli.db import export

    export(file)


@db_app.command("import")
def db_import(file: Annotated[str, typer.Argument(help="What `export` wrote, or - for standard input.")]) -> None:
    """Take an export in, into an empty database; where that was broken off it goes on."""
    from prosperstack_destination.cli.db import import_

    import_(file)


@db_app.command("backup")
def db_backup(file: Annotated[Path, typer.Argument(help="Where to; it must not be there yet.")]) -> None:
    """Copy a SQLite database while the service runs."""
    from prosperstack_destination.cli.db import backup

    backup(file)


@app.command()
def sources(account: _Account = None, json: _Json = False) -> None:
    """Show where calls come from: Segment's sources, Engage's audiences and computed traits."""
    from prosperstack_destination.cli.accounts import list_sources

    list_sources(account, as_json=json)


@app.command()
def audit(
    account: _Account = None,
    limit: Annotated[int, typer.Option(min=1, help="How many entries.")] = 50,
    json: _Json = False,
) -> None:
    """Show who did what: deletions, keys, mappings. It holds no personal data."""
    from prosperstack_destination.cli.accounts import show_audit

    show_audit(account, limit, as_json=json)


add_operations(app)
