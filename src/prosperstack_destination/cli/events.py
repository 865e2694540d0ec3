"""Implementation of `events`."""

import time
from collections.abc import Iterable
from typing import Final

from pydantic import JsonValue
from rich.markup import escape
from sqlalchemy import Connection

from prosperstack_destination.auth.vault import load_pseudonym_key, pseudonym_of_email
from prosperstack_destination.cli import output
from prosperstack_destination.cli.output import Time
from prosperstack_destination.cli.session import read, resolve_account
from prosperstack_destination.emails import normalize_email
from prosperstack_destination.settings import read_settings
from prosperstack_destination.store import activity
from prosperstack_destination.store.activity import Event
from prosperstack_destination.vault import vault_from_settings

#: Pause between two queries of `--follow`, in seconds.
FOLLOW_SECONDS: Final = 1.0


def tail(
    account_name: str | None, *, limit: int, email: str | None, follow: bool, times: int | None, as_json: bool
) -> None:
    """Print the latest events, and with ``follow`` new ones; JSON output has one event a line."""
    settings = read_settings()
    vault = vault_from_settings(settings)
    after = queries = 0

    def work(connection: Connection) -> tuple[list[Event], int]:
        account = resolve_account(connection, account_name)
        load_pseudonym_key(connection, vault)
        subject = None if email is None else pseudonym_of_email(vault, normalize_email(email))
        return activity.latest(connection, account.id, limit=limit, after=after, subject=subject)

    while True:
        batch, after = read(work, settings)
        _print(batch, as_json=as_json)
        queries += 1
        if not follow or (times is not None and queries >= times):
            return
        time.sleep(FOLLOW_SECONDS)


def _print(batch: Iterable[Event], *, as_json: bool) -> None:
    for each in batch:
        if as_json:
            print(output.one_line(_facts(each)), flush=True)
            continue
        details = ", ".join(f"{name}: {output.format_cell(value)}" for name, value in each.details.items())
        person = "" if each.subject is None else f"person {each.subject}"
        kind = f"{each.kind.value:<11}  [bold]{escape(output.visible(each.outcome)):<12}[/bold]"
        output.console.print(f"{Time(each.at)}  {kind}  {person:<19}  {escape(details)}")


def _facts(event: Event) -> JsonValue:
    return {
        "at": Time(event.at).iso,
        "kind": event.kind.value,
        "outcome": event.outcome,
        "person": event.subject,
        **event.details,
    }
