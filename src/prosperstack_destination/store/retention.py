"""Transactions that delete old data in small steps, so that no call waits for them."""

from itertools import groupby
from typing import Final

from sqlalchemy import Column, Connection, Table, delete, select, update

from prosperstack_destination.store import identities, mappings, sources, subscribers
from prosperstack_destination.store.models import Status
from prosperstack_destination.store.profiles import ids_of
from prosperstack_destination.store.statements import lock_account
from prosperstack_destination.store.tables import accounts, profiles
from prosperstack_destination.store.timed_traits import by_name, load_traits

#: Maximum number of rows that one transaction scans or deletes.
BATCH_ROWS: Final = 500


def delete_inactive(connection: Connection, after: int, before: int, now: int) -> tuple[int | None, int]:
    """Delete profiles without a call since ``before`` among the next ones with IDs above ``after``.

    Return the ID to continue after (None: done) and the number of deleted profiles. Pending profiles stay, and
    ProsperStack keeps its values. Profiles without a recorded time count from ``now`` on.
    """
    page = select(profiles.c.id).where(profiles.c.id > after).order_by(profiles.c.id).limit(BATCH_ROWS)
    ids = list(connection.scalars(page))
    if not ids:
        return None, 0
    these = profiles.c.id.between(ids[0], ids[-1])
    connection.execute(update(profiles).where(these, profiles.c.touched_at.is_(None)).values(touched_at=now))
    old = these & (profiles.c.touched_at < before) & (profiles.c.status != Status.PENDING)
    found = connection.execute(select(profiles.c.account_id).where(old).distinct()).scalars()
    for account_id in sorted(found):
        lock_account(connection, account_id, exclusive=True)  # no concurrent call may resolve these IDs
    rows = connection.execute(
        select(profiles.c.id, profiles.c.account_id, profiles.c.email, profiles.c.ids, profiles.c.traits)
        .where(old)
        .order_by(profiles.c.account_id, profiles.c.email)
        .with_for_update()
    ).all()
    for account_id, group in groupby(rows, lambda row: row.account_id):
        people = list(group)
        keys = {key for row in people for key in ids_of(row.ids)}
        emails = [row.email for row in people]
        identities.forget_with(connection, account_id, keys, emails)
        sources.remove_members(connection, account_id, [by_name(load_traits(row.traits)) for row in people])
        subscribers.clear_applied(connection, account_id, emails)
        connection.execute(delete(profiles).where(profiles.c.id.in_([row.id for row in people])))
        mappings.forget_emails(connection, account_id, emails)
    return ids[-1], len(rows)


def trim(connection: Connection, table: Table, at: "Column[int]", before: int, max_rows: int) -> int:
    """Delete some rows of a table older than ``before``, or beyond the newest ``max_rows`` of their account.

    ``at`` is the column with their times; IDs grow with time. Return the number of deleted rows; 0: done.
    """
    oldest = select(table.c.id).where(at < before).order_by(table.c.id).limit(BATCH_ROWS)
    ids = list(connection.scalars(oldest))
    for account_id in connection.scalars(select(accounts.c.id).order_by(accounts.c.id)).all():
        if len(ids) >= BATCH_ROWS:
            break
        newest = select(table.c.id).where(table.c.account_id == account_id).order_by(table.c.id.desc())
        ids += connection.scalars(newest.offset(max_rows).limit(BATCH_ROWS - len(ids)))
    connection.execute(delete(table).where(table.c.id.in_(ids)))
    return len(set(ids))
