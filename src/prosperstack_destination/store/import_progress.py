"""Transactions on file imports: rows are merged in the same transaction that records the progress."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, insert, select, update

from prosperstack_destination.store.merge_calls import CommitResult, Readers, ingest_calls, no_readers
from prosperstack_destination.store.models import Call
from prosperstack_destination.store.pseudonyms import Pseudonym
from prosperstack_destination.store.tables import file_imports


@dataclass(frozen=True, slots=True)
class ImportProgress:
    """Progress of a file's import."""

    #: Number of rows on disk, of the rejected ones among them, and of all rows.
    done: int
    refused: int
    total: int
    #: In microseconds; `ended_at` None: not finished.
    begun_at: int
    ended_at: int | None


def find(connection: Connection, import_id: str) -> ImportProgress | None:
    """Return the progress of an import; None: not started."""
    row = connection.execute(select(file_imports).where(file_imports.c.id == import_id)).one_or_none()
    return None if row is None else ImportProgress(row.done, row.refused, row.total, row.begun_at, row.ended_at)


def begin(connection: Connection, import_id: str, account_id: str, name: str, total: int, now: int) -> None:
    """Start an import at its first row, even a finished one."""
    values = {"account_id": account_id, "name": name, "done": 0, "refused": 0, "total": total}
    values |= {"begun_at": now, "ended_at": None}
    if connection.execute(update(file_imports).where(file_imports.c.id == import_id).values(values)).rowcount == 0:
        connection.execute(insert(file_imports).values(id=import_id, **values))


def advance(
    connection: Connection,
    import_id: str,
    calls: Sequence[Call],
    done: int,
    refused: int,
    pseudonym: Pseudonym,
    readers: Readers = no_readers,
) -> CommitResult:
    """Merge the calls of the next rows and record the progress, in one transaction."""
    taken = ingest_calls(connection, calls, pseudonym, readers)
    connection.execute(
        update(file_imports)
        .where(file_imports.c.id == import_id)
        .values(done=file_imports.c.done + done, refused=file_imports.c.refused + refused)
    )
    return taken


def end(connection: Connection, import_id: str, now: int) -> None:
    """Record that all rows of an import are on disk."""
    connection.execute(update(file_imports).where(file_imports.c.id == import_id).values(ended_at=now))
