"""``status`` and ``watch``: how the accounts stand, and when what waits will be done."""

import time
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue
from rich.console import Group, RenderableType
from rich.live import Live
from sqlalchemy import Connection

from prosperstack_destination.cli import output
from prosperstack_destination.cli.operating import from_database
from prosperstack_destination.cli.output import Cell, Time
from prosperstack_destination.clock import MINUTE, SECOND, system_clock
from prosperstack_destination.prosperstack.forecast import USUAL_LIMIT, USUAL_WINDOW_SECONDS, Rate
from prosperstack_destination.settings import Settings, read_settings
from prosperstack_destination.state import events, mappings, rate_limits, standing
from prosperstack_destination.state.accounts import STOPPED, AccountStatus
from prosperstack_destination.state.events import EventKind
from prosperstack_destination.state.rate_limits import ToldLimit
from prosperstack_destination.state.standing import Census, Standing

#: How fast it goes is told by the last of these, in microseconds.
LOOK_BACK: Final = 5 * MINUTE


@dataclass(frozen=True, slots=True)
class View:
    """What there is to say of one account."""

    standing: Standing
    told: ToldLimit | None
    mapping: int
    #: Profiles settled in the last minutes.
    settled: int
    #: Only where it was asked for.
    census: Census | None

    def per_minute(self, now: int) -> float:
        """Profiles settled a minute, lately: since the oldest that waits came in, where that is not long ago."""
        oldest = self.standing.oldest_at
        elapsed = LOOK_BACK if oldest is None else min(max(now - oldest, MINUTE), LOOK_BACK)
        return self.settled * MINUTE / elapsed

    def seconds_left(self, reserve: float, now: int) -> float | None:
        """How long the backlog takes; None: nothing waits, or nothing moves.

        As fast as it went lately; where nothing was settled yet, by a request to find and one to write each.
        """
        if self.standing.backlog == 0 or self.standing.status in STOPPED:
            return None
        if self.settled:
            return self.standing.backlog * 60 / self.per_minute(now)
        return 2 * self.standing.backlog / rate_of(self.told, reserve).per_second


def rate_of(told: ToldLimit | None, reserve: float) -> Rate:
    """What an account may spend: as told, else as ProsperStack documents it."""
    if told is None:
        return Rate(USUAL_LIMIT, USUAL_WINDOW_SECONDS, reserve)
    return Rate(told.limit, max(told.window_seconds, 1.0), reserve)


def look(connection: Connection, now: int, *, count: bool = False) -> list[View]:
    """A unit of work: every account, the oldest first; ``count`` counts profiles by status, which takes longer."""
    return [
        View(
            each,
            rate_limits.of_account(connection, each.account_id),
            mappings.in_force(connection, each.account_id).version,
            events.count(connection, each.account_id, EventKind.DELIVERY, now - LOOK_BACK),
            standing.census(connection, each.account_id) if count else None,
        )
        for each in standing.of_accounts(connection, now)
    ]


def status(*, count: bool, as_json: bool) -> None:
    """Print how the accounts stand."""
    settings = read_settings()
    now = system_clock()
    views = from_database(lambda connection: look(connection, now, count=count), settings)
    if as_json:
        output.print_json([_facts(each, now, settings) for each in views])
        return
    output.console.print(_rendered(views, now, settings))


def watch(*, every: float, times: int | None, as_json: bool) -> None:
    """Print it again and again, until interrupted, or as often as asked; as JSON a line each time."""
    settings = read_settings()
    seen = 0
    with Live(console=output.console, auto_refresh=False, transient=False) as live:
        while times is None or seen < times:
            if seen:
                time.sleep(every)
            now = system_clock()
            views = from_database(lambda connection: look(connection, now), settings)  # noqa: B023 -- run at once
            if as_json:
                print(output.one_line([_facts(each, now, settings) for each in views]), flush=True)
            else:
                live.update(_rendered(views, now, settings), refresh=True)
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


def _rendered(views: list[View], now: int, settings: Settings) -> RenderableType:
    if not views:
        return "There is no account yet: the first call with its key opens it, or `accounts add`."
    lines: list[RenderableType] = [output.table(_COLUMNS, [_row(each, now, settings) for each in views])]
    for each in views:
        if each.standing.status is not AccountStatus.ACTIVE:
            lines.append(
                f"{each.standing.fingerprint}: {each.standing.status_reason or each.standing.status.value}"
            )
            if each.standing.status_until is not None and each.standing.status_until > now:
                wait = output.span((each.standing.status_until - now) / SECOND)
                lines.append(f"  The next attempt is in {wait}; `retry` makes it now.")
        if each.census is not None:
            counts = ", ".join(f"{number:,} {name}" for name, number in each.census.by_status.items())
            lines.append(f"{each.standing.fingerprint}: {each.census.profiles:,} profiles ({counts or 'none'})")
            lines.append(f"  {each.census.problems:,} problems" + ("; see `problems`" * bool(each.census.problems)))
    return Group(*lines)


def _row(view: View, now: int, settings: Settings) -> list[Cell]:
    account, told = view.standing, view.told
    left = view.seconds_left(settings.rate_limit_reserve, now)
    return [
        account.fingerprint,
        "live" if account.live else "test",
        account.status.value,
        account.backlog,
        "" if account.oldest_at is None else output.ago(account.oldest_at, now),
        round(view.per_minute(now), 1),
        "" if left is None else output.span(left),
        "" if told is None else f"{told.remaining:,} of {told.limit:,}",
        view.mapping,
    ]


def _facts(view: View, now: int, settings: Settings) -> JsonValue:
    account, told, left = view.standing, view.told, view.seconds_left(settings.rate_limit_reserve, now)
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
        "settled_per_minute": view.per_minute(now),
        "seconds_left": left,
        "rate_limit": None if told is None else told.limit,
        "rate_limit_remaining": None if told is None else told.remaining,
        "rate_limit_told_at": None if told is None else Time(told.told_at).iso,
        "mapping_version": view.mapping,
        "catalog_at": Time(account.catalog_at).iso,
    }
    if view.census is not None:
        facts["profiles"] = dict(view.census.by_status)
        facts["problems"] = view.census.problems
    return facts
