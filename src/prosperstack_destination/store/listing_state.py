"""Transactions on the progress of listing and sweeping an account's subscribers.

A full listing returns every subscriber, 100 per request; an incremental one those updated since the last listing.
Each page is stored together with the cursor of the next one, so an interrupted listing resumes where it was.

The sweep is a slow, endless pass over all subscribers. It finds differences that incremental listings miss: a
subscriber wrongly reported as missing, a wrong clock, a change that did not count as an update.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

from sqlalchemy import Connection, bindparam, func, insert, select, update

from prosperstack_destination.clock import DAY, HOUR, SECOND
from prosperstack_destination.store import profiles
from prosperstack_destination.store.statements import BulkSelect, BulkStatement
from prosperstack_destination.store.subscribers import SubscriberSnapshot, upsert_page
from prosperstack_destination.store.tables import directories, subscribers

#: Overlap of an incremental listing with the one before, in microseconds: an update may appear a moment after its
#: own time, and ProsperStack's times are whole seconds.
OVERLAP: Final = 3 * SECOND
#: Age after which an interrupted listing restarts, in microseconds.
RESUME_FOR: Final = 1 * DAY
#: Longest time between two incremental listings while nothing changes, in microseconds.
MAX_REFRESH_INTERVAL: Final = 1 * HOUR
#: Time between a full listing and the next sweep, in microseconds.
SWEEP_AFTER: Final = 1 * DAY

_OF_ACCOUNT: Final = directories.c.account_id == bindparam("of_account")
_COUNT_LOOKUP: Final = update(directories).where(_OF_ACCOUNT).values(lookups=directories.c.lookups + 1)
_COUNT_WRITES = BulkStatement(
    directories,
    ["account_id", "writes"],
    by_row="INSERT INTO directories (account_id, writes) VALUES (?, ?) "
    "ON CONFLICT (account_id) DO UPDATE SET writes = directories.writes + excluded.writes",
    over="INSERT INTO directories (account_id, writes) SELECT * FROM {rows} "
    "ON CONFLICT (account_id) DO UPDATE SET writes = directories.writes + excluded.writes",
)


@dataclass(frozen=True, slots=True)
class ListingState:
    """Progress of an account's listings and sweeps.

    Times are in microseconds since the epoch, by this service's clock unless ProsperStack's is named.
    """

    #: Start of the latest complete listing: the store has everything up to then; None: none was completed.
    as_of: int | None = None
    #: The same start by ProsperStack's clock: later updates may be missing.
    watermark: int | None = None
    #: Number of subscribers at the end of the latest full listing.
    size: int | None = None
    #: Start of the listing in progress, by this service's and by ProsperStack's clock; None: none is in progress.
    began_at: int | None = None
    began_there: int | None = None
    #: Lower bound of the listed updates, by ProsperStack's clock; None: a full listing.
    since: int | None = None
    #: Cursor of its next page; None: the first page.
    cursor: str | None = None
    #: Its pages so far, the emails with changes, and the profiles marked as pending for them.
    pages: int = 0
    news: int = 0
    found: int = 0
    #: Single lookups, and updates by this service, since the latest listing.
    lookups: int = 0
    writes: int = 0
    #: Time of the next incremental listing at the latest; None: never listed.
    refresh_at: int | None = None
    #: Number of consecutive listings without changes.
    quiet: int = 0
    #: Start of the latest complete pass over all subscribers, by a full listing or a sweep.
    swept_at: int | None = None
    #: Start and cursor of the sweep in progress; None: none is in progress.
    sweep_began_at: int | None = None
    sweep_cursor: str | None = None
    #: Due time of the sweep's next page, or of the next sweep; None: never listed.
    sweep_at: int | None = None

    @property
    def in_progress(self) -> bool:
        """True if a listing has started and not ended."""
        return self.began_at is not None

    def covers(self, lost_at: int) -> bool:
        """Return whether a subscriber forgotten at ``lost_at`` has been listed again, if it exists."""
        return self.swept_at is not None and self.swept_at >= lost_at


NEVER_LISTED: Final = ListingState()
_SELECT = BulkSelect(directories, ["account_id"], ["account_id", *(field.name for field in fields(ListingState))])


def read(connection: Connection, account_id: str) -> ListingState:
    """Return the progress of an account."""
    return read_all(connection, [account_id]).get(account_id, NEVER_LISTED)


def read_all(connection: Connection, account_ids: Iterable[str]) -> dict[str, ListingState]:
    """Return the progress of accounts, without those that were never listed."""
    rows = _SELECT.rows(connection, [(account_id,) for account_id in account_ids])
    return {account_id: ListingState(*values) for account_id, *values in rows}


def begin(connection: Connection, account_id: str, now: int) -> ListingState:
    """Return the listing in progress, or start a full or incremental one. Safe to repeat."""
    known = read(connection, account_id)
    if known.began_at is not None and 0 <= now - known.began_at < RESUME_FOR:
        return known
    return restart(connection, account_id, now)


def restart(connection: Connection, account_id: str, now: int) -> ListingState:
    """Start a new listing: the cursor is no longer accepted, or too old."""
    known = read(connection, account_id)
    since = None if known.watermark is None else known.watermark - OVERLAP
    values = {"began_at": now, "began_there": None, "since": since, "cursor": None}
    values |= {"pages": 0, "news": 0, "found": 0}
    _set(connection, account_id, values)
    return read(connection, account_id)


def store_page(
    connection: Connection,
    account_id: str,
    snapshots: Sequence[SubscriberSnapshot],
    next_cursor: str | None,
    *,
    server_time: int,
    now: int,
    refresh_after: int,
) -> bool:
    """Store a page of the listing in progress with the next cursor; return whether it was the last page.

    ``server_time`` is the time of the request by ProsperStack's clock. At its end the next listing is scheduled
    ``refresh_after`` microseconds later. The interval doubles with each consecutive listing without changes, up to
    an hour.
    """
    known = read(connection, account_id)
    news = upsert_page(connection, account_id, snapshots, now)
    found = profiles.mark_changed(connection, account_id, news, now) if news else 0
    began_there = known.began_there if known.began_there is not None else server_time
    values: dict[str, Any] = {"pages": known.pages + 1, "news": known.news + len(news)}
    values |= {"found": known.found + found}
    if next_cursor:
        _set(connection, account_id, {**values, "cursor": next_cursor, "began_there": began_there})
        return False
    quiet = 0 if values["news"] else known.quiet + 1
    values |= {"cursor": None, "began_at": None, "began_there": None, "since": None}
    values |= {"as_of": known.began_at, "watermark": began_there, "lookups": 0, "writes": 0}
    values |= {"refresh_at": now + min(refresh_after << min(quiet, 16), MAX_REFRESH_INTERVAL), "quiet": quiet}
    if known.since is None:
        values["size"] = connection.execute(
            select(func.count()).select_from(subscribers).where(subscribers.c.account_id == account_id)
        ).scalar_one()
        values |= {"swept_at": known.began_at, "sweep_at": now + SWEEP_AFTER}
        values |= {"sweep_began_at": None, "sweep_cursor": None}
    _set(connection, account_id, values)
    return True


def count_lookup(connection: Connection, account_id: str) -> None:
    """Count a single lookup."""
    if not connection.execute(_COUNT_LOOKUP, {"of_account": account_id}).rowcount:
        _set(connection, account_id, {"lookups": 1})


def count_writes(connection: Connection, writes: Mapping[str, int]) -> None:
    """Count updates by this service, by account: the next listing contains the subscribers again."""
    _COUNT_WRITES.execute_values(connection, sorted(writes.items()))


def _set(connection: Connection, account_id: str, values: dict[str, Any]) -> None:
    changed = update(directories).where(directories.c.account_id == account_id).values(values)
    if not connection.execute(changed).rowcount:
        connection.execute(insert(directories).values(account_id=account_id, **values))


#: Age below which an observation is kept, in microseconds: it may be newer than the sweep's page.
FRESH_FOR: Final = 1 * HOUR


@dataclass(frozen=True, slots=True)
class Sweep:
    """Sweep in progress."""

    began_at: int
    #: Cursor of its next page; None: the first page.
    cursor: str | None


def begin_sweep_page(connection: Connection, account_id: str, now: int, next_at: int) -> Sweep:
    """Return the sweep in progress or start one, and schedule the page after this one at ``next_at``."""
    known = read(connection, account_id)
    began_at = now if known.sweep_began_at is None else known.sweep_began_at
    _set_sweep(connection, account_id, {"sweep_began_at": began_at, "sweep_at": next_at})
    return Sweep(began_at, known.sweep_cursor)


def restart_sweep(connection: Connection, account_id: str) -> None:
    """Restart the sweep: its cursor is no longer accepted."""
    _set_sweep(connection, account_id, {"sweep_began_at": None, "sweep_cursor": None})


def store_sweep_page(
    connection: Connection,
    account_id: str,
    sweep: Sweep,
    snapshots: Sequence[SubscriberSnapshot],
    next_cursor: str | None,
    *,
    requested_at: int,
    now: int,
) -> int:
    """Store a page of a sweep with the next cursor. Return the number of emails with changes."""
    news = upsert_page(connection, account_id, snapshots, requested_at, fresh_for=FRESH_FOR)
    if news:
        profiles.mark_changed(connection, account_id, news, now)
    if next_cursor:
        _set_sweep(connection, account_id, {"sweep_cursor": next_cursor})
    else:
        _set_sweep(
            connection, account_id, {"swept_at": sweep.began_at, "sweep_began_at": None, "sweep_cursor": None}
        )
    return len(news)


def _set_sweep(connection: Connection, account_id: str, values: dict[str, Any]) -> None:
    connection.execute(update(directories).where(directories.c.account_id == account_id).values(values))
