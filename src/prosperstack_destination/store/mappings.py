"""Transactions on mapping versions and remaps.

All applied versions are stored, and the newest is current. After a change of the mapping or the catalog, a remap
evaluates all profiles of the account.
"""

from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any, Final

from sqlalchemy import Connection, Row, bindparam, case, func, insert, select, update

from prosperstack_destination.store import json_codec, profile_queries
from prosperstack_destination.store.models import Lane, Status
from prosperstack_destination.store.tables import accounts, mappings, profiles, reprojections


@dataclass(frozen=True, slots=True)
class MappingVersion:
    """Mapping version of an account. Version 0 is the empty mapping before the first one."""

    version: int
    #: Rules as JSON.
    rules: str
    author: str
    #: In microseconds since the epoch.
    applied_at: int
    #: Text of the mapping file, with comments; None: applied by the API without a file.
    source: str | None = None
    #: Reason for the version, such as "back to version 3".
    note: str = ""


#: Built once: it is read for every profile.
_NEWEST: Final = (
    select(mappings)
    .where(mappings.c.account_id == bindparam("account"))
    .order_by(mappings.c.version.desc())
    .limit(1)
)
NO_MAPPING: Final = MappingVersion(version=0, rules='{"rules":[]}', author="", applied_at=0)


def current(connection: Connection, account_id: str) -> MappingVersion:
    """Return the account's newest version, or `NO_MAPPING`."""
    row = connection.execute(_NEWEST, {"account": account_id}).one_or_none()
    return NO_MAPPING if row is None else _mapping_version(row)


def history(
    connection: Connection, account_id: str, limit: int, *, before: int | None = None
) -> list[MappingVersion]:
    """Return the account's latest versions, the newest first, of those before version ``before``."""
    query = select(mappings).where(mappings.c.account_id == account_id)
    if before is not None:
        query = query.where(mappings.c.version < before)
    rows = connection.execute(query.order_by(mappings.c.version.desc()).limit(limit))
    return [_mapping_version(row) for row in rows]


def of_version(connection: Connection, account_id: str, version: int) -> MappingVersion | None:
    """Return a version, or None; version 0 always exists."""
    if version == 0:
        return NO_MAPPING
    row = connection.execute(
        select(mappings).where(mappings.c.account_id == account_id, mappings.c.version == version)
    ).one_or_none()
    return None if row is None else _mapping_version(row)


def add(connection: Connection, account_id: str, mapping: MappingVersion) -> None:
    """Store the next version, which becomes current. Its number must be the next one."""
    connection.execute(insert(mappings).values(account_id=account_id, **asdict(mapping)))


def _mapping_version(row: Row[Any]) -> MappingVersion:
    return MappingVersion(row.version, row.rules, row.author, row.applied_at, row.source, row.note)


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
    #: Time as of which rules saw the day, in microseconds; None: today.
    as_of: int | None = None


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


def begin_remap(
    connection: Connection, account_id: str, now: int, *, as_of: int | None = None, unknown: bool = False
) -> int:
    """Start a remap of an account and return the number of profiles. Call it *before* the change is made.

    A remap in progress starts again, and remembers all mappings that profiles may have been evaluated by. ``as_of``
    is the time as of which their rules saw the day; with ``unknown``, nothing is known of their evaluation.
    """
    known = latest_remap(connection, account_id)
    before = [_current_mapping(connection, account_id, as_of)]
    if unknown:
        before = []
    elif known is not None and not known.is_finished:
        before = [] if as_of is not None or not known.previous else list(dict.fromkeys([*known.previous, *before]))
    if len(before) > MAX_PREVIOUS:
        before = []
    total = profile_queries.count_all(connection, account_id)
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


def latest_remap(connection: Connection, account_id: str) -> RemapProgress | None:
    """Return the latest remap of an account, or None."""
    row = connection.execute(select(reprojections).where(reprojections.c.account_id == account_id)).one_or_none()
    return None if row is None else _remap_progress(row)


def accounts_in_remap(connection: Connection) -> list[str]:
    """Return the accounts with a remap in progress."""
    return list(connection.scalars(select(reprojections.c.account_id).where(reprojections.c.finished_at.is_(None))))


def advance_remap(
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


def forget_emails(connection: Connection, account_id: str, emails: Collection[str]) -> None:
    """Move the cursor of a remap off emails that are about to be erased.

    A remap in progress continues after the preceding profile; its present page does not count.
    """
    known = latest_remap(connection, account_id)
    if known is None or known.is_finished:
        return
    of_account = reprojections.c.account_id == account_id
    after = known.after
    if after in emails:
        before = (profiles.c.account_id == account_id) & (profiles.c.email < after)
        after = connection.scalar(select(func.max(profiles.c.email)).where(before)) or ""
    connection.execute(update(reprojections).where(of_account).values(after=after, run=known.run + 1))


def mark_profiles_due(connection: Connection, profile_ids: list[int], now: int) -> None:
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


def invalidate_profiles(connection: Connection, profile_ids: list[int]) -> None:
    """Give profiles a new version, so that running evaluations by an earlier mapping do not settle them."""
    connection.execute(
        update(profiles).where(profiles.c.id.in_(profile_ids)).values(version=profiles.c.version + 1)
    )


def _current_mapping(connection: Connection, account_id: str, as_of: int | None) -> PreviousMapping:
    row = connection.execute(
        select(accounts.c.catalog, accounts.c.subscription_catalog).where(accounts.c.id == account_id)
    ).one()
    version = current(connection, account_id).version
    return PreviousMapping(version, row.catalog, row.subscription_catalog, as_of)


def _remap_progress(row: Row[Any]) -> RemapProgress:
    before = tuple(PreviousMapping(**each) for each in json_codec.load(row.before))
    progress = (row.after, row.total, row.done, row.changed, row.started_at, row.finished_at)
    return RemapProgress(row.account_id, row.run, before, *progress)
