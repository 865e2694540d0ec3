"""``events``: what happened lately."""

import time
from collections.abc import Iterable
from typing import Final

from pydantic import JsonValue
from rich.markup import escape
from sqlalchemy import Connection

from prosperstack_destination.accounts.rotation import use_kept_pseudonyms
from prosperstack_destination.accounts.vault import subject_of
from prosperstack_destination.cli import output
from prosperstack_destination.cli.operating import chosen_account, from_database
from prosperstack_destination.cli.output import Time
from prosperstack_destination.emails import normalize_email
from prosperstack_destination.settings import read_settings
from prosperstack_destination.state import events
from prosperstack_destination.state.events import Event
from prosperstack_destination.vaults import vault_of

#: Between two looks while following, in seconds.
FOLLOW_SECONDS: Final = 1.0


def tail(
    account_name: str | None, *, limit: int, email: str | None, follow: bool, times: int | None, as_json: bool
) -> None:
    """Print the latest events, and those that come while it follows; with JSON one a line."""
    settings = read_settings()
    vault = vault_of(settings)
    after = seen = 0

    def work(connection: Connection) -> tuple[list[Event], int]:
        account = chosen_account(connection, account_name)
        use_kept_pseudonyms(connection, vault)
        subject = None if email is None else subject_of(vault, normalize_email(email))
        return events.latest(connection, account.id, limit=limit, after=after, subject=subject)

    while True:
        found, after = from_database(work, settings)
        _print(found, as_json=as_json)
        seen += 1
        if not follow or (times is not None and seen >= times):
            return
        time.sleep(FOLLOW_SECONDS)


def _print(found: Iterable[Event], *, as_json: bool) -> None:
    for each in found:
        if as_json:
            print(output.one_line(_facts(each)), flush=True)
            continue
        details = ", ".join(f"{name}: {output.shown(value)}" for name, value in each.details.items())
        who = "" if each.subject is None else f"person {each.subject}"
        what = f"{each.kind.value:<11}  [bold]{escape(output.visible(each.outcome)):<12}[/bold]"
        output.console.print(f"{Time(each.at)}  {what}  {who:<19}  {escape(details)}")


def _facts(event: Event) -> JsonValue:
    return {
        "at": Time(event.at).iso,
        "kind": event.kind.value,
        "outcome": event.outcome,
        "person": event.subject,
        **event.details,
    }
