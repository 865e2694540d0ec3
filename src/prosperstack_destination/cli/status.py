"""``status`` and ``watch``: how the accounts stand, and when what waits will be done."""

import time
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue
from rich.console import Group, RenderableType
from rich.live import Live
from sqlalchemy import Connection

from prosperstack_destination.admin import labels
from prosperstack_destination.admin.overview import Overview, overview
from prosperstack_destination.cli import output
from prosperstack_destination.cli.output import Cell, Time
from prosperstack_destination.cli.session import read
from prosperstack_destination.clock import SECOND, system_clock
from prosperstack_destination.settings import read_settings
from prosperstack_destination.store import account_stats, accounts
from prosperstack_destination.store.account_stats import AccountStats, ProfileCounts
from prosperstack_destination.store.accounts import AccountStatus


@dataclass(frozen=True, slots=True)
class AccountView:
    """What there is to say of one account."""

    standing: AccountStats
    overview: Overview
    #: Only where it was asked for.
    census: ProfileCounts | None

    @property
    def per_minute(self) -> float:
        """Profiles settled a minute, lately."""
        return self.overview.settled_per_minute

    @property
    def seconds_left(self) -> float | None:
        """How long the backlog takes; None: nothing waits, or nothing moves."""
        progress = self.overview.progress
        return None if progress is None or progress.arrival is None else progress.arrival.seconds


def look(connection: Connection, now: int, reserve: float, *, count: bool = False) -> list[AccountView]:
    """A unit of work: every account, the oldest first; ``count`` counts profiles by status, which takes longer."""
    by_id = {each.id: each for each in accounts.all_accounts(connection)}
    return [
        AccountView(
            each,
            overview(connection, by_id[each.account_id], reserve, now),
            account_stats.count_profiles(connection, each.account_id) if count else None,
        )
        for each in account_stats.of_accounts(connection, now)
    ]


def status(*, count: bool, as_json: bool) -> None:
    """Print how the accounts stand."""
    settings = read_settings()
    now = system_clock()
    reserve = settings.rate_limit_reserve
    views = read(lambda connection: look(connection, now, reserve, count=count), settings)
    if as_json:
        output.print_json([_facts(each, now) for each in views])
        return
    output.console.print(_rendered(views, now))


def watch(*, every: float, times: int | None, as_json: bool) -> None:
    """Print it again and again, until interrupted, or as often as asked; as JSON a line each time."""
    settings = read_settings()
    seen = 0
    with Live(console=output.console, auto_refresh=False, transient=False) as live:
        while times is None or seen < times:
            if seen:
                time.sleep(every)
            now = system_clock()
            reserve = settings.rate_limit_reserve
            views = read(lambda connection: look(connection, now, reserve), settings)  # noqa: B023 -- run at once
            if as_json:
                print(output.one_line([_facts(each, now) for each in views]), flush=True)
            else:
                live.update(_rendered(views, now), refresh=True)
            seen += 1
    if not (as_json or output.console.is_terminal):
        output.console.print()


_COLUMNS: Final = (
    "Account",
    "Mode",
    "Status",
    "Backlog",
    "Oldest",
    "A minute",
    "Done in",
    "Requests left",
    "Mapping",
)


def _rendered(views: list[AccountView], now: int) -> RenderableType:
    if not views:
        return "There is no account yet: the first call with its key opens it, or `accounts add`."
    lines: list[RenderableType] = [output.table(_COLUMNS, [_row(each, now) for each in views])]
    for each in views:
        if each.standing.status is not AccountStatus.ACTIVE:
            lines.append(
                f"{each.standing.fingerprint}: {each.standing.status_reason or each.standing.status.value}"
            )
            if each.standing.status_until is not None and each.standing.status_until > now:
                wait = labels.span((each.standing.status_until - now) / SECOND)
                lines.append(f"  The next attempt is in {wait}; `retry` makes it now.")
        failures = each.standing.failures
        if failures.in_words:
            lines.append(f"{each.standing.fingerprint}: {failures.in_words}.")
            if failures.reason is not None and failures.next_attempt_at is not None:
                lines.append(f"  {failures.reason}")
                wait = labels.span(max(failures.next_attempt_at - now, 0) / SECOND)
                lines.append(f"  The next attempt is in {wait}; `failures` lists them, `retry` tries them now.")
        if (through := each.overview.going_through) is not None:
            lines.append(
                f"{each.standing.fingerprint}: {through.done:,} of {through.total:,} profiles were looked at since "
                "what traits mean has changed; more may have to wait."
            )
        if each.census is not None:
            counts = ", ".join(f"{number:,} {name}" for name, number in each.census.by_status.items())
            lines.append(f"{each.standing.fingerprint}: {each.census.profiles:,} profiles ({counts or 'none'})")
            lines.append(f"  {each.census.problems:,} problems" + ("; see `problems`" * bool(each.census.problems)))
    return Group(*lines)


def _row(view: AccountView, now: int) -> list[Cell]:
    account, told = view.standing, view.overview.told
    return [
        account.fingerprint,
        "live" if account.live else "test",
        account.status.value,
        account.backlog,
        "" if account.oldest_at is None else labels.ago(account.oldest_at, now),
        round(view.per_minute, 1),
        _done_in(view),
        "" if told is None else f"{told.remaining:,} of {told.limit:,}",
        view.overview.mapping,
    ]


def _done_in(view: AccountView) -> str:
    if view.seconds_left is not None:
        return labels.span(view.seconds_left)
    return "" if view.overview.progress is None else "unknown"


def _facts(view: AccountView, now: int) -> JsonValue:
    account, told, left = view.standing, view.overview.told, view.seconds_left
    through = view.overview.going_through
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
        "rate_limit": None if told is None else told.limit,
        "rate_limit_remaining": None if told is None else told.remaining,
        "rate_limit_told_at": None if told is None else Time(told.reported_at).iso,
        "going_through": None if through is None else {"total": through.total, "done": through.done},
        "mapping_version": view.overview.mapping,
        "catalog_at": Time(account.catalog_at).iso,
    }
    if view.census is not None:
        facts["profiles"] = dict(view.census.by_status)
        facts["problems"] = view.census.problems
    return facts
