"""Units of work on the listing of an account's subscribers: how far the directory is, and what it costs.

A full listing shows every subscriber, 100 a request; a later one only those that were updated since. Both go page
by page: each page is kept together with the cursor of the next, so that a listing that was interrupted goes on
where it was.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Row, bindparam, func, insert, select, update

from prosperstack_destination.clock import DAY, HOUR, SECOND
from prosperstack_destination.store import profiles
from prosperstack_destination.store import subscribers as subscriber_rows
from prosperstack_destination.store.subscribers import SubscriberSnapshot
from prosperstack_destination.store.tables import directories, subscribers

#: A listing asks for what was updated this much before the one before it began, in microseconds: an update may
#: show a moment after its own time, and ProsperStack tells its time in whole seconds.
OVERLAP: Final = 3 * SECOND
#: A listing that was interrupted for longer than this begins anew, in microseconds.
RESUME_FOR: Final = 1 * DAY
#: While nothing changes in ProsperStack the directory is brought up to date at least this often, in microseconds.
LONGEST_QUIET: Final = 1 * HOUR
#: A full listing is good for so long before a sweep begins, in microseconds.
SWEEP_AFTER: Final = 1 * DAY

_OF_ACCOUNT: Final = directories.c.account_id == bindparam("of_account")
_SELECT: Final = select(directories).where(_OF_ACCOUNT)
_COUNT_LOOKUP: Final = update(directories).where(_OF_ACCOUNT).values(lookups=directories.c.lookups + 1)
_COUNT_WRITE: Final = update(directories).where(_OF_ACCOUNT).values(writes=directories.c.writes + 1)


@dataclass(frozen=True, slots=True)
class ListingState:
    """How far an account's directory is. Times are ours, in microseconds, but for those of ProsperStack's clock."""

    #: Everything that ProsperStack had at this time is in it; None: it was never listed to its end.
    as_of: int | None = None
    #: What was updated since then, by ProsperStack's clock, may not be in it.
    watermark: int | None = None
    #: How many subscribers there were at the end of the latest full listing.
    size: int | None = None
    #: When the listing in progress began, by either clock; None: none is in progress.
    began_at: int | None = None
    began_there: int | None = None
    #: Subscribers updated since then are listed, by ProsperStack's clock; None: all are.
    since: int | None = None
    #: Where its next page begins; None: at the beginning.
    cursor: str | None = None
    #: The pages that it has shown, how many of its subscribers were news, and of how many people it was news.
    pages: int = 0
    news: int = 0
    found: int = 0
    #: Single look-ups, and updates of ours, since the latest listing.
    lookups: int = 0
    writes: int = 0
    #: When it is to be brought up to date if nothing else asks for it; None: it was never listed.
    refresh_at: int | None = None
    #: How often that brought nothing, in a row.
    quiet: int = 0
    #: When the newest time that all subscribers were gone through began, be it by a full listing or by a sweep.
    swept_at: int | None = None
    #: The sweep in progress, if one is: when it began, and where its next page begins.
    sweep_began_at: int | None = None
    sweep_cursor: str | None = None
    #: When its next page is due, or the first of the next; None: the directory was never listed.
    sweep_at: int | None = None

    @property
    def in_progress(self) -> bool:
        """Whether a listing has begun and not ended."""
        return self.began_at is not None

    def shows(self, lost_at: int) -> bool:
        """Whether whoever was lost at a time is in it again, if they are in ProsperStack."""
        return self.swept_at is not None and self.swept_at >= lost_at


def read(connection: Connection, account_id: str) -> ListingState:
    """How far an account's directory is."""
    row = connection.execute(_SELECT, {"of_account": account_id}).one_or_none()
    return ListingState() if row is None else _directory(row)


def begin(connection: Connection, account_id: str, now: int) -> ListingState:
    """The listing to go on with: the one in progress, or a new one, of all or of what was updated since.

    Safe to repeat.
    """
    known = read(connection, account_id)
    if known.began_at is not None and 0 <= now - known.began_at < RESUME_FOR:
        return known
    return restart(connection, account_id, now)


def restart(connection: Connection, account_id: str, now: int) -> ListingState:
    """Begin a listing anew: its cursor is not taken any more, or it is too old."""
    known = read(connection, account_id)
    since = None if known.watermark is None else known.watermark - OVERLAP
    values = {"began_at": now, "began_there": None, "since": since, "cursor": None}
    values |= {"pages": 0, "news": 0, "found": 0}
    _set(connection, account_id, values)
    return read(connection, account_id)


def take_page(
    connection: Connection,
    account_id: str,
    seen: Sequence[SubscriberSnapshot],
    next_cursor: str | None,
    *,
    there: int,
    now: int,
    refresh_after: int,
) -> bool:
    """Take in a page of the listing in progress, with the cursor of the next; whether it was the last.

    ``there`` is when it was asked for by ProsperStack's clock. When the listing ends it is to be brought up to
    date again ``refresh_after`` microseconds later, or after twice as long for each time that brought nothing, up
    to an hour.
    """
    known = read(connection, account_id)
    news = subscriber_rows.upsert_page(connection, account_id, seen, now)
    found = profiles.mark_changed(connection, account_id, news, now) if news else 0
    began_there = known.began_there if known.began_there is not None else there
    values: dict[str, Any] = {"pages": known.pages + 1, "news": known.news + len(news)}
    values |= {"found": known.found + found}
    if next_cursor:
        _set(connection, account_id, {**values, "cursor": next_cursor, "began_there": began_there})
        return False
    quiet = 0 if values["news"] else known.quiet + 1
    values |= {"cursor": None, "began_at": None, "began_there": None, "since": None}
    values |= {"as_of": known.began_at, "watermark": began_there, "lookups": 0, "writes": 0}
    values |= {"refresh_at": now + min(refresh_after << min(quiet, 16), LONGEST_QUIET), "quiet": quiet}
    if known.since is None:
        values["size"] = connection.execute(
            select(func.count()).select_from(subscribers).where(subscribers.c.account_id == account_id)
        ).scalar_one()
        values |= {"swept_at": known.began_at, "sweep_at": now + SWEEP_AFTER}
        values |= {"sweep_began_at": None, "sweep_cursor": None}
    _set(connection, account_id, values)
    return True


def count_lookup(connection: Connection, account_id: str) -> None:
    """Note that a single look-up was spent."""
    if not connection.execute(_COUNT_LOOKUP, {"of_account": account_id}).rowcount:
        _set(connection, account_id, {"lookups": 1})


def count_write(connection: Connection, account_id: str) -> None:
    """Note that a subscriber was updated: the next listing shows it again."""
    if not connection.execute(_COUNT_WRITE, {"of_account": account_id}).rowcount:
        _set(connection, account_id, {"writes": 1})


def _set(connection: Connection, account_id: str, values: dict[str, Any]) -> None:
    changed = update(directories).where(directories.c.account_id == account_id).values(values)
    if not connection.execute(changed).rowcount:
        connection.execute(insert(directories).values(account_id=account_id, **values))


def _directory(row: Row[Any]) -> ListingState:
    return ListingState(
        as_of=row.as_of,
        watermark=row.watermark,
        size=row.size,
        began_at=row.began_at,
        began_there=row.began_there,
        since=row.since,
        cursor=row.cursor,
        pages=row.pages,
        news=row.news,
        found=row.found,
        lookups=row.lookups,
        writes=row.writes,
        refresh_at=row.refresh_at,
        quiet=row.quiet,
        swept_at=row.swept_at,
        sweep_began_at=row.sweep_began_at,
        sweep_cursor=row.sweep_cursor,
        sweep_at=row.sweep_at,
    )
