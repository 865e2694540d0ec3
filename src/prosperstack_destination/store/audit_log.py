"""Transactions on the audit log: actions of operators and of Segment, without personal data."""

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue
from sqlalchemy import Connection, insert, select

from prosperstack_destination.store import json_codec
from prosperstack_destination.store.tables import audit


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Entry of the audit log."""

    account_id: str
    #: In microseconds since the epoch.
    at: int
    #: "segment", or the name of the operator.
    actor: str
    action: str
    details: Mapping[str, JsonValue]


def record(
    connection: Connection, account_id: str, at: int, *, actor: str, action: str, details: Mapping[str, JsonValue]
) -> None:
    """Add an entry. The details must not contain personal data or keys."""
    connection.execute(
        insert(audit).values(
            account_id=account_id, at=at, actor=actor, action=action, details=json_codec.dump(details)
        )
    )


def recent(connection: Connection, account_id: str, limit: int) -> list[AuditEntry]:
    """Return an account's latest entries, the newest first."""
    rows = connection.execute(
        select(audit).where(audit.c.account_id == account_id).order_by(audit.c.id.desc()).limit(limit)
    )
    return [AuditEntry(row.account_id, row.at, row.actor, row.action, json_codec.load(row.details)) for row in rows]
