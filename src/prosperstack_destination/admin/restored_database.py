"""State of a restored database, from which `doctor --after-restore` tells what has to be repeated."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import Column, Connection, func, select

from prosperstack_destination.store.migrations import current_revision, newest_revision
from prosperstack_destination.store.tables import (
    connector_tokens,
    erasures,
    inbound_keys,
    mappings,
    operator_tokens,
    profiles,
    shared_secrets,
    subscribers,
)

#: Columns with the times of issued and of revoked credentials.
_CREDENTIALS: Final = tuple(
    column
    for table in (inbound_keys, shared_secrets, connector_tokens, operator_tokens)
    for column in (table.c.created_at, table.c.revoked_at)
)


@dataclass(frozen=True, slots=True)
class RestoredDatabase:
    """State of a restored database; times in microseconds, None where there is nothing."""

    revision: str | None
    #: Revision that this version of the service needs.
    newest_revision: str
    #: Result of SQLite's own check; "ok" on PostgreSQL, which has none.
    integrity: str
    profiles: int
    latest_call_at: int | None
    latest_erasure_at: int | None
    latest_credential_at: int | None
    latest_mapping_at: int | None
    latest_observation_at: int | None


def load(connection: Connection) -> RestoredDatabase:
    """Load the state of the database: a unit of work."""
    sqlite = connection.dialect.name == "sqlite"
    integrity = connection.exec_driver_sql("PRAGMA quick_check").scalar_one() if sqlite else "ok"
    return RestoredDatabase(
        revision=current_revision(connection),
        newest_revision=newest_revision(),
        integrity=str(integrity),
        profiles=connection.execute(select(func.count()).select_from(profiles)).scalar_one(),
        latest_call_at=_latest(connection, profiles.c.changed_at),
        latest_erasure_at=_latest(connection, erasures.c.at),
        latest_credential_at=_latest(connection, *_CREDENTIALS),
        latest_mapping_at=_latest(connection, mappings.c.applied_at),
        latest_observation_at=_latest(connection, subscribers.c.observed_at),
    )


def _latest(connection: Connection, *columns: Column[int]) -> int | None:
    found = [connection.execute(select(func.max(column))).scalar_one() for column in columns]
    return max((at for at in found if at), default=None)
