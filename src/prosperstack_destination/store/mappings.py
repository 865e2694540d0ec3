"""Transactions on mapping versions: all applied versions are stored, and the newest is current."""

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Row, bindparam, insert, select

from prosperstack_destination.store.tables import mappings


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
    return NO_MAPPING if row is None else _applied(row)


def history(
    connection: Connection, account_id: str, limit: int, *, before: int | None = None
) -> list[MappingVersion]:
    """Return the account's latest versions, the newest first, of those before version ``before``."""
    query = select(mappings).where(mappings.c.account_id == account_id)
    if before is not None:
        query = query.where(mappings.c.version < before)
    rows = connection.execute(query.order_by(mappings.c.version.desc()).limit(limit))
    return [_applied(row) for row in rows]


def of_version(connection: Connection, account_id: str, version: int) -> MappingVersion | None:
    """Return a version, or None; version 0 always exists."""
    if version == 0:
        return NO_MAPPING
    row = connection.execute(
        select(mappings).where(mappings.c.account_id == account_id, mappings.c.version == version)
    ).one_or_none()
    return None if row is None else _applied(row)


def add(connection: Connection, account_id: str, mapping: MappingVersion) -> None:
    """Store the next version, which becomes current. Its number must be the next one."""
    connection.execute(
        insert(mappings).values(
            account_id=account_id,
            version=mapping.version,
            rules=mapping.rules,
            author=mapping.author,
            applied_at=mapping.applied_at,
            source=mapping.source,
            note=mapping.note,
        )
    )


def _applied(row: Row[Any]) -> MappingVersion:
    return MappingVersion(row.version, row.rules, row.author, row.applied_at, row.source, row.note)
