"""Transactions on the sweep: a slow, endless pass over all of an account's subscribers.

After the first full listing only updated subscribers are listed. The sweep finds differences that such listings
miss: a subscriber wrongly reported as missing, a wrong clock, a change that did not count as an update. They are
found within one pass.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, update

from prosperstack_destination.clock import HOUR
from prosperstack_destination.store import listing_state, profiles, subscribers
from prosperstack_destination.store.subscribers import SubscriberSnapshot
from prosperstack_destination.store.tables import directories

#: Age below which an observation is kept, in microseconds: it may be newer than the sweep's page.
FRESH_FOR: Final = 1 * HOUR


@dataclass(frozen=True, slots=True)
class Sweep:
    """Sweep in progress."""

    began_at: int
    #: Cursor of its next page; None: the first page.
    cursor: str | None


def begin_page(connection: Connection, account_id: str, now: int, next_at: int) -> Sweep:
    """Return the sweep in progress or start one, and schedule the page after this one at ``next_at``."""
    known = listing_state.read(connection, account_id)
    began_at = now if known.sweep_began_at is None else known.sweep_began_at
    _set(connection, account_id, {"sweep_began_at": began_at, "sweep_at": next_at})
    return Sweep(began_at, known.sweep_cursor)


def restart(connection: Connection, account_id: str) -> None:
    """Restart the sweep: its cursor is no longer accepted."""
    _set(connection, account_id, {"sweep_began_at": None, "sweep_cursor": None})


def store_page(
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
    news = subscribers.upsert_page(connection, account_id, snapshots, requested_at, fresh_for=FRESH_FOR)
    if news:
        profiles.mark_changed(connection, account_id, news, now)
    if next_cursor:
        _set(connection, account_id, {"sweep_cursor": next_cursor})
    else:
        _set(connection, account_id, {"swept_at": sweep.began_at, "sweep_began_at": None, "sweep_cursor": None})
    return len(news)


def _set(connection: Connection, account_id: str, values: dict[str, Any]) -> None:
    connection.execute(update(directories).where(directories.c.account_id == account_id).values(values))
