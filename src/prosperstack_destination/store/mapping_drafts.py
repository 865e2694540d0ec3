"""Transactions on drafts of mappings: at most one for each account, which all operators share."""

from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select, update

from prosperstack_destination.store.tables import mapping_drafts as table


@dataclass(frozen=True, slots=True)
class StoredDraft:
    """Draft of an account's next mapping."""

    #: Grows with each save.
    revision: int
    #: Mapping version that the draft changes.
    based_on: int
    #: Text of the mapping file.
    source: str
    author: str
    #: In microseconds since the epoch.
    saved_at: int


def find(connection: Connection, account_id: str) -> StoredDraft | None:
    """Return the account's draft, or None."""
    row = connection.execute(select(table).where(table.c.account_id == account_id)).one_or_none()
    return None if row is None else StoredDraft(row.revision, row.based_on, row.source, row.author, row.saved_at)


def save(
    connection: Connection, account_id: str, based_on: int, source: str, author: str, now: int, revision: int | None
) -> StoredDraft | None:
    """Save the account's draft, and return it; None, without saving, if another revision is stored.

    ``revision`` is the one that the text was made from, 0 for no draft; None saves over any revision.
    """
    known = find(connection, account_id)
    stored = 0 if known is None else known.revision
    if known is not None and (known.source, known.based_on) == (source, based_on):
        return known
    if revision is not None and revision != stored:
        return None
    values = {"revision": stored + 1, "based_on": based_on, "source": source, "author": author, "saved_at": now}
    if known is None:
        connection.execute(insert(table).values(account_id=account_id, **values))
    else:
        connection.execute(update(table).where(table.c.account_id == account_id).values(values))
    return StoredDraft(stored + 1, based_on, source, author, now)


def discard(connection: Connection, account_id: str) -> None:
    """Delete the account's draft, if there is one."""
    connection.execute(delete(table).where(table.c.account_id == account_id))
