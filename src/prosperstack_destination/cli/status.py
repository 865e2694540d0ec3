"""Commands that show the state of every account."""

import time
from typing import Annotated, Final

import typer
from pydantic import JsonValue
from rich.console import Group, RenderableType
from rich.live import Live

from prosperstack_destination.admin import labels
from prosperstack_destination.admin.accounts import NO_ACCOUNT
from prosperstack_destination.admin.status import AccountView, load_views
from prosperstack_destination.cli import output, session
from prosperstack_destination.cli.output import Cell, Time
from prosperstack_destination.cli.session import Json
from prosperstack_destination.clock import SECOND, system_clock
from prosperstack_destination.settings import read_settings
from prosperstack_destination.store.accounts import AccountStatus

app = typer.Typer()


@app.command()
def status(
    count: Annotated[
        bool, typer.Option("--count", help="Count the profiles of each status, which takes longer.")
    ] = False,
    json: Json = False,
) -> None:
    """Show each account: status, backlog, rate, time left, and remaining requests."""
    now = system_clock()
    views = session.read(load_views, now, read_settings().rate_limit_reserve, count=count)
    if json:
        output.print_json([_facts(each, now) for each in views])
        return
    output.console.print(_rendered(views, now))


@app.command()
def watch(
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two updates.")] = 1.0,
    times: Annotated[int | None, typer.Option(min=1, help="Stop after this many updates.")] = None,
    json: Json = False,
) -> None:
    """Show the status live, until interrupted."""
    reserve = read_settings().rate_limit_reserve
    updates = 0
    with Live(console=output.console, auto_refresh=False, transient=False) as live:
        while times is None or updates < times:
            if updates:
                time.sleep(every)
            now = system_clock()
            views = session.read(load_views, now, reserve)
            if json:
                print(output.one_line([_facts(each, now) for each in views]), flush=True)
            else:
                live.update(_rendered(views, now), refresh=True)
            updates += 1
    if not (json or output.console.is_terminal):
        output.console.print()


_COLUMNS: Final = (
    "Account",
    "Mode",
    "Status",
    "Backlog",
    "Oldest",
    "Per minute",
    "Done in",
    "Requests left",
    "Mapping",
)


def _rendered(views: list[AccountView], now: int) -> RenderableType:
    if not views:
        return NO_ACCOUNT
    lines: list[RenderableType] = [output.table(_COLUMNS, [_row(each, now) for each in views])]
    for each in views:
        if each.stats.status is not AccountStatus.ACTIVE:
            lines.append(f"{each.stats.fingerprint}: {each.stats.status_reason or each.stats.status.value}")
            if each.stats.status_until is not None and each.stats.status_until > now:
                wait = labels.span((each.stats.status_until - now) / SECOND)
                lines.append(f"  Next attempt in {wait}. `retry` tries now.")
        failures = each.stats.failures
        if failures.summary:
            lines.append(f"{each.stats.fingerprint}: {failures.summary}.")
            if failures.reason is not None and failures.next_attempt_at is not None:
                lines.append(f"  {failures.reason}")
                wait = labels.span(max(failures.next_attempt_at - now, 0) / SECOND)
                lines.append(f"  Next attempt in {wait}. `failures` lists them, `retry` tries now.")
        if (remap := each.overview.remap) is not None:
            lines.append(
                f"{each.stats.fingerprint}: {remap.done:,} of {remap.total:,} profiles are compared with "
                "the new mapping; the backlog may still grow."
            )
        if each.profile_counts is not None:
            counts = ", ".join(f"{number:,} {name}" for name, number in each.profile_counts.by_status.items())
            lines.append(
                f"{each.stats.fingerprint}: {each.profile_counts.profiles:,} profiles ({counts or 'none'})"
            )
            lines.append(
                f"  {each.profile_counts.problems:,} problems"
                + ("; `problems` lists them" * bool(each.profile_counts.problems))
            )
    return Group(*lines)


def _row(view: AccountView, now: int) -> list[Cell]:
    account, limit = view.stats, view.overview.rate_limit
    return [
        account.fingerprint,
        "live" if account.live else "test",
        account.status.value,
        account.backlog,
        "" if account.oldest_at is None else labels.ago(account.oldest_at, now),
        round(view.per_minute, 1),
        _done_in(view),
        "" if limit is None else f"{limit.remaining:,} of {limit.limit:,}",
        view.overview.mapping,
    ]


def _done_in(view: AccountView) -> str:
    if view.seconds_left is not None:
        return labels.span(view.seconds_left)
    return "" if view.overview.progress is None else "unknown"


def _facts(view: AccountView, now: int) -> JsonValue:
    account, limit, left = view.stats, view.overview.rate_limit, view.seconds_left
    remap = view.overview.remap
    facts: dict[str, JsonValue] = {
        "at": Time(now).iso,
        "account": account.account_id,
        "fingerprint": account.fingerprint,
        "live": account.live,
        "status": account.status.value,
        "status_reason": account.status_reason,
        "status_until": Time(account.status_until).iso,
        "backlog": account.backlog,
        "oldest_pending_at": Time(account.oldest_at).iso,
        "failing": account.failures.waiting,
        "rejected": account.failures.rejected,
        "failing_erasures": account.failures.erasures,
        "failing_reason": account.failures.reason,
        "next_attempt_at": Time(account.failures.next_attempt_at).iso,
        "settled_per_minute": view.per_minute,
        "seconds_left": left,
        "rate_limit": None if limit is None else limit.limit,
        "rate_limit_remaining": None if limit is None else limit.remaining,
        "rate_limit_told_at": None if limit is None else Time(limit.reported_at).iso,
        "going_through": None if remap is None else {"total": remap.total, "done": remap.done},
        "mapping_version": view.overview.mapping,
        "catalog_at": Time(account.catalog_at).iso,
    }
    if view.profile_counts is not None:
        facts["profiles"] = dict(view.profile_counts.by_status)
        facts["problems"] = view.profile_counts.problems
    return facts
