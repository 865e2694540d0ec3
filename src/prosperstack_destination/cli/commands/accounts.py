"""Accounts, where their calls come from, and who did what there."""

from typing import Annotated

import typer

from prosperstack_destination.cli.options import Account, Author, Json
from prosperstack_destination.store.accounts import OnDelete

accounts_app = typer.Typer(help="Whose ProsperStack is written to.", no_args_is_help=True)


@accounts_app.command("list")
def accounts_list(json: Json = False) -> None:
    """Print every account."""
    from prosperstack_destination.cli.accounts import list_accounts

    list_accounts(as_json=json)


_Unchecked = Annotated[bool, typer.Option("--unchecked", help="Do not ask ProsperStack about the key.")]


@accounts_app.command("add")
def accounts_add(unchecked: _Unchecked = False, author: Author = "unknown", json: Json = False) -> None:
    """Open an account for a ProsperStack API key, which is asked for, or read from standard input.

    ProsperStack is asked whether it takes the key.
    """
    from prosperstack_destination.cli.accounts import add_account

    add_account(author, checked=not unchecked, as_json=json)


@accounts_app.command("remove")
def accounts_remove(
    account: Account = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    author: Author = "unknown",
    json: Json = False,
) -> None:
    """Delete an account with everything that is stored for it. Nothing changes in ProsperStack or in Segment."""
    from prosperstack_destination.cli.accounts import remove

    remove(account, author, yes=yes, as_json=json)


@accounts_app.command("rekey")
def accounts_rekey(
    account: Account = None, unchecked: _Unchecked = False, author: Author = "unknown", json: Json = False
) -> None:
    """Have an account use another ProsperStack API key, which is asked for, or read from standard input."""
    from prosperstack_destination.cli.accounts import replace_key

    replace_key(account, author, checked=not unchecked, as_json=json)


@accounts_app.command("set")
def accounts_set(
    on_delete: Annotated[
        OnDelete | None, typer.Option(help="What a deletion (GDPR, CCPA) does in ProsperStack.")
    ] = None,
    reserve: Annotated[
        str | None,
        typer.Option(help="The part of the rate limit that is left to the owner, as 0.2, or default."),
    ] = None,
    account: Account = None,
    author: Author = "unknown",
    json: Json = False,
) -> None:
    """Change an account. It counts within seconds."""
    from prosperstack_destination.cli.accounts import change

    change(account, author, on_delete=on_delete, reserve=reserve, as_json=json)


def sources(account: Account = None, json: Json = False) -> None:
    """Show where calls come from: Segment's sources, Engage's audiences and computed traits."""
    from prosperstack_destination.cli.accounts import list_sources

    list_sources(account, as_json=json)


def audit(
    account: Account = None,
    limit: Annotated[int, typer.Option(min=1, help="How many entries.")] = 50,
    json: Json = False,
) -> None:
    """Show who did what: deletions, keys, mappings. It holds no personal data."""
    from prosperstack_destination.cli.accounts import show_audit

    show_audit(account, limit, as_json=json)


def add_to(app: typer.Typer) -> None:
    """Add this group, and what belongs to it, to the command line."""
    app.add_typer(accounts_app, name="accounts")
    app.command()(sources)
    app.command()(audit)
