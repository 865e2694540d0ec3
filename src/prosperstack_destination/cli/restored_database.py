"""Checks of `doctor --after-restore`: what a restored database has, and what has to be repeated."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import Column, Connection, func, select

from prosperstack_destination.admin import labels
from prosperstack_destination.cli.findings import Finding, Severity
from prosperstack_destination.clock import SECOND
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
        integrity=str(integrity),
        profiles=connection.execute(select(func.count()).select_from(profiles)).scalar_one(),
        latest_call_at=_latest(connection, profiles.c.changed_at),
        latest_erasure_at=_latest(connection, erasures.c.at),
        latest_credential_at=_latest(connection, *_CREDENTIALS),
        latest_mapping_at=_latest(connection, mappings.c.applied_at),
        latest_observation_at=_latest(connection, subscribers.c.observed_at),
    )


def findings(state: RestoredDatabase, now: int) -> Iterator[Finding]:
    """Yield a finding for each step after a restore, in the order of the steps."""
    if state.integrity == "ok":
        yield Finding("restore, integrity", Severity.OK, f"{state.profiles:,} profiles")
    else:
        advice = "Restore another backup: this one is damaged."
        yield Finding("restore, integrity", Severity.FAILED, state.integrity, advice)
    if state.revision != newest_revision():
        advice = "Run `db upgrade`, or start the service, which upgrades it."
        observation = f"revision {state.revision}, and this version has {newest_revision()}"
        yield Finding("restore, schema", Severity.WARNING, observation, advice)
    steps = {
        "calls": (
            state.latest_call_at,
            "Calls after it are missing. Import them from your warehouse (`import`), or let Segment replay them "
            "from then on. Both are safe: the newest event wins.",
        ),
        "deletions": (state.latest_erasure_at, "Repeat deletions that were made after it (`erase`)."),
        "credentials": (
            state.latest_credential_at,
            "Issue and revoke again what was issued or revoked after it: a key that was revoked since works now.",
        ),
        "mapping": (state.latest_mapping_at, "Apply again what was applied after it (`mappings apply`)."),
        "ProsperStack": (
            state.latest_observation_at,
            "What ProsperStack got after it is not known here. Start the service, and run `replay --yes`.",
        ),
    }
    for step, (at, advice) in steps.items():
        yield Finding(f"restore, {step}", Severity.WARNING, _when(at, now), advice)


def _latest(connection: Connection, *columns: Column[int]) -> int | None:
    found = [connection.execute(select(func.max(column))).scalar_one() for column in columns]
    return max((at for at in found if at), default=None)


def _when(at: int | None, now: int) -> str:
    if at is None:
        return "there is none in this database"
    time = datetime.fromtimestamp(at / SECOND, UTC)
    return f"the latest is of {time:%Y-%m-%d %H:%M:%S} UTC, {labels.ago(at, now)} ago"
