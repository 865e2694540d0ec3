"""Units of work on the sweep: going through all of an account's subscribers again, slowly, and without an end.

After the first full listing only what was updated since is listed. What such a listing does not show, and the
directory lacks or has wrong (ProsperStack said that somebody was gone who was not, a clock was wrong, an update did
not count as one) comes to light here, page by page, at the latest when the sweep has gone round.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, update

from prosperstack_destination.clock import HOUR
from prosperstack_destination.store import listing_state, profiles, subscribers
from prosperstack_destination.store.subscribers import SubscriberSnapshot
from prosperstack_destination.store.tables import directories

#: A page of the sweep says nothing of whoever was seen so lately, in microseconds: it may be the older of the two.
FRESH_FOR: Final = 1 * HOUR


@dataclass(frozen=True, slots=True)
class Sweep:
    """A sweep in progress."""

    began_at: int
    #: Where its next page begins; None: at the beginning.
    cursor: str | None


def go_on(connection: Connection, account_id: str, now: int, next_at: int) -> Sweep:
    """The sweep to take the next page of, the one after which is due at ``next_at``, whatever comes of this one."""
    known = listing_state.read(connection, account_id)
    began_at = now if known.sweep_began_at is None else known.sweep_began_at
    _set(connection, account_id, {"sweep_began_at": began_at, "sweep_at": next_at})
    return Sweep(began_at, known.sweep_cursor)


def restart(connection: Connection, account_id: str) -> None:
    """Have the sweep begin anew: its cursor is not taken any more."""
    _set(connection, account_id, {"sweep_began_at": None, "sweep_cursor": None})


def take_page(
    connection: Connection,
    account_id: str,
    sweep: Sweep,
    seen: Sequence[SubscriberSnapshot],
    next_cursor: str | None,
    *,
    asked_at: int,
    now: int,
) -> int:
    """Take in a page of a sweep, with the cursor of the next; of how many people it brought news."""
    news = subscribers.upsert_page(connection, account_id, seen, asked_at, but_fresh_for=FRESH_FOR)
    if news:
        profiles.mark_changed(connection, account_id, news, now)
    if next_cursor:
        _set(connection, account_id, {"sweep_cursor": next_cursor})
    else:
        _set(connection, account_id, {"swept_at": sweep.began_at, "sweep_began_at": None, "sweep_cursor": None})
    return len(news)


def _set(connection: Connection, account_id: str, values: dict[str, Any]) -> None:
    connection.execute(update(directories).where(directories.c.account_id == account_id).values(values))
