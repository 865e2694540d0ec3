"""Transactions on remaps: evaluations of all profiles of an account after a change of its mapping or catalog."""

from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any, Final

from sqlalchemy import Connection, Row, case, func, insert, select, update

from prosperstack_destination.store import json_codec, mappings, profile_scan
from prosperstack_destination.store.models import Lane, Status
from prosperstack_destination.store.tables import accounts, profiles, reprojections

#: Maximum number of changes during a remap that are compared with; beyond it all profiles count as changed.
MAX_PREVIOUS: Final = 8


@dataclass(frozen=True, slots=True)
class PreviousMapping:
    """Mapping version and catalogs before a change."""

    #: Version of the mapping.
    version: int
    #: Catalogs of the account, as stored.
    catalog: str | None
    subscription: str | None


@dataclass(frozen=True, slots=True)
class RemapProgress:
    """Progress of an account's latest remap."""

    account_id: str
    run: int
    #: Mappings that profiles may have been evaluated by; empty: unknown.
    previous: tuple[PreviousMapping, ...]
    #: Email of the last processed profile; "" before the first and after the last one.
    after: str
    #: Number of profiles at the start, of processed ones, and of those that differ.
    total: int
    done: int
    changed: int
    #: In microseconds since the epoch.
    started_at: int
    finished_at: int | None

    @property
    def is_finished(self) -> bool:
        """True if all profiles are processed."""
        return self.finished_at is not None


def begin(connection: Connection, account_id: str, now: int) -> int:
    """Start a remap of an account and return the number of profiles. Call it *before* the change is made.

    A remap in progress starts again, and remembers all mappings that profiles may have been evaluated by.
    """
    known = of_account(connection, account_id)
    before = [_meant(connection, account_id)]
    if known is not None and not known.is_finished:
        before = [] if not known.previous else list(dict.fromkeys([*known.previous, *before]))
    if len(before) > MAX_PREVIOUS:
        before = []
    total = profile_scan.count(connection, account_id)
    values = {
        "run": 1 if known is None else known.run + 1,
        "before": json_codec.dump([asdict(each) for each in before]),
        "after": "",
        "total": total,
        "done": 0,
        "changed": 0,
        "started_at": now,
        "finished_at": None if total else now,
    }
    if known is None:
        connection.execute(insert(reprojections).values(account_id=account_id, **values))
    else:
        connection.execute(update(reprojections).where(reprojections.c.account_id == account_id).values(values))
    return total


def of_account(connection: Connection, account_id: str) -> RemapProgress | None:
    """Return the latest remap of an account, or None."""
    row = connection.execute(select(reprojections).where(reprojections.c.account_id == account_id)).one_or_none()
    return None if row is None else _reprojection(row)


def unfinished(connection: Connection) -> list[str]:
    """Return the accounts with a remap in progress."""
    return list(connection.scalars(select(reprojections.c.account_id).where(reprojections.c.finished_at.is_(None))))


def advance(
    connection: Connection, known: RemapProgress, *, after: str, done: int, changed: int, finished_at: int | None
) -> bool:
    """Record progress. Return False, without recording, if the remap was started again in the meantime."""
    result = connection.execute(
        update(reprojections)
        .where(reprojections.c.account_id == known.account_id, reprojections.c.run == known.run)
        .values(
            after=after if finished_at is None else "",  # no email is stored longer than necessary
            done=known.done + done,
            changed=known.changed + changed,
            finished_at=finished_at,
        )
    )
    return result.rowcount == 1


def forget(connection: Connection, account_id: str, emails: Collection[str]) -> None:
    """Move the cursor of a remap off emails that are about to be erased.

    A remap in progress continues after the preceding profile; its present page does not count.
    """
    known = of_account(connection, account_id)
    if known is None or known.is_finished:
        return
    mine = reprojections.c.account_id == account_id
    after = known.after
    if after in emails:
        before = (profiles.c.account_id == account_id) & (profiles.c.email < after)
        after = connection.scalar(select(func.max(profiles.c.email)).where(before)) or ""
    connection.execute(update(reprojections).where(mine).values(after=after, run=known.run + 1))


def mark_due(connection: Connection, profile_ids: list[int], now: int) -> None:
    """Mark a page of profiles with changed desired values as pending."""
    connection.execute(
        update(profiles)
        .where(profiles.c.id.in_(profile_ids))
        .values(
            due_at=now,
            lane=case((profiles.c.pending_since.is_(None), Lane.BULK), else_=profiles.c.lane),
            pending_since=func.coalesce(profiles.c.pending_since, now),
            version=profiles.c.version + 1,
            status=Status.PENDING,
        )
    )


def invalidate(connection: Connection, profile_ids: list[int]) -> None:
    """Give profiles a new version, so that running evaluations by an earlier mapping do not settle them."""
    connection.execute(
        update(profiles).where(profiles.c.id.in_(profile_ids)).values(version=profiles.c.version + 1)
    )


def _meant(connection: Connection, account_id: str) -> PreviousMapping:
    row = connection.execute(
        select(accounts.c.catalog, accounts.c.subscription_catalog).where(accounts.c.id == account_id)
    ).one()
    version = mappings.current(connection, account_id).version
    return PreviousMapping(version, row.catalog, row.subscription_catalog)


def _reprojection(row: Row[Any]) -> RemapProgress:
    before = tuple(PreviousMapping(**each) for each in json_codec.load(row.before))
    return RemapProgress(
        row.account_id,
        row.run,
        before,
        row.after,
        row.total,
        row.done,
        row.changed,
        row.started_at,
        row.finished_at,
    )
