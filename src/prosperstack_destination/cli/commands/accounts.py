"""Commands for accounts, their sources and the audit log."""

from typing import Annotated

import typer

from prosperstack_destination.cli.options import Account, Author, Json
from prosperstack_destination.store.accounts import HoldUnknown, OnDelete

accounts_app = typer.Typer(help="Manage the ProsperStack accounts that receive updates.", no_args_is_help=True)


@accounts_app.command("list")
def accounts_list(json: Json = False) -> None:
    """List every account, its status and its settings."""
    from prosperstack_destination.cli.accounts import list_accounts

    list_accounts(as_json=json)


_Unchecked = Annotated[bool, typer.Option("--unchecked", help="Do not check the key with ProsperStack.")]


@accounts_app.command("add")
def accounts_add(unchecked: _Unchecked = False, author: Author = "unknown", json: Json = False) -> None:
    """Open an account for a ProsperStack API key. The command prompts for the key, or reads standard input.

    The key is checked with ProsperStack first.
    """
    from prosperstack_destination.cli.accounts import add_account

    add_account(author, checked=not unchecked, as_json=json)


@accounts_app.command("remove")
def accounts_remove(
    account: Account = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    author: Author = "unknown",
    json: Json = False,
) -> None:
    """Delete an account and everything stored for it. Nothing changes in ProsperStack or in Segment."""
    from prosperstack_destination.cli.accounts import remove

    remove(account, author, yes=yes, as_json=json)


@accounts_app.command("rekey")
def accounts_rekey(
    account: Account = None, unchecked: _Unchecked = False, author: Author = "unknown", json: Json = False
) -> None:
    """Rotate the ProsperStack API key of an account. The command prompts for the key, or reads standard input."""
    from prosperstack_destination.cli.accounts import replace_key

    replace_key(account, author, checked=not unchecked, as_json=json)


@accounts_app.command("set")
def accounts_set(
    on_delete: Annotated[
        OnDelete | None, typer.Option(help="Effect of a deletion (GDPR, CCPA) in ProsperStack.")
    ] = None,
    reserve: Annotated[
        str | None,
        typer.Option(help="Share of the rate limit kept free for your own tools, as 0.2; or default."),
    ] = None,
    hold_unknown: Annotated[
        HoldUnknown | None,
        typer.Option(help="Calls with an ID but without a known email that are held: those of Engage, or all."),
    ] = None,
    time_zone: Annotated[
        str | None, typer.Option(help="Zone in which rules see the day, as Europe/Berlin.")
    ] = None,
    account: Account = None,
    author: Author = "unknown",
    json: Json = False,
) -> None:
    """Change the settings of an account. They apply within seconds."""
    from prosperstack_destination.cli.accounts import AccountChanges, change

    changes = AccountChanges(on_delete, reserve, hold_unknown, time_zone)
    change(account, author, changes, as_json=json)


def sources(account: Account = None, json: Json = False) -> None:
    """List the sources of calls: Segment sources, Engage audiences and computed traits."""
    from prosperstack_destination.cli.accounts import list_sources

    list_sources(account, as_json=json)


def audit(
    account: Account = None,
    limit: Annotated[int, typer.Option(min=1, help="Number of entries.")] = 50,
    json: Json = False,
) -> None:
    """Show the audit log: deletions, keys, mappings, and who changed them. It holds no personal data."""
    from prosperstack_destination.cli.accounts import show_audit

    show_audit(account, limit, as_json=json)


def add_to(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.add_typer(accounts_app, name="accounts")
    app.command()(sources)
    app.command()(audit)
