"""Transactions on connections to Segment sources, and on stored tokens of Segment workspaces."""

from dataclasses import asdict, dataclass
from enum import StrEnum

from sqlalchemy import ColumnElement, Connection, delete, insert, select

from prosperstack_destination.store.tables import accounts, segment_connections, segment_tokens


class Region(StrEnum):
    """Region of a Segment workspace."""

    US = "us"
    EU = "eu"


class ConnectionKind(StrEnum):
    """Kind of destination that connects a source."""

    #: ProsperStack's own destination in Segment's catalog, with an inbound key.
    DESTINATION = "destination"
    #: Segment's Webhooks (Actions) with a shared secret, for self-hosted services.
    WEBHOOK = "webhook"


@dataclass(frozen=True, slots=True)
class SegmentConnection:
    """Segment source that sends to an account by a destination created for it."""

    id: str
    account_id: str
    region: Region
    workspace_id: str
    workspace_name: str
    source_id: str
    source_name: str
    #: ID of the destination in Segment.
    destination_id: str
    kind: ConnectionKind
    #: Credential issued for it: fingerprint of the inbound key, or ID of the shared secret.
    credential: str
    #: In microseconds since the epoch.
    created_at: int


@dataclass(frozen=True, slots=True)
class StoredToken:
    """Encrypted token of a workspace, stored for an account."""

    region: Region
    encrypted: str
    workspace_name: str
    #: In microseconds since the epoch.
    created_at: int


def add(connection: Connection, connected: SegmentConnection) -> SegmentConnection | None:
    """Store a connection unless the account has one with the source; return that existing one, or None."""
    _lock_account_row(connection, connected.account_id)
    known = of_source(connection, connected.account_id, connected.source_id)
    if known is None:
        connection.execute(insert(segment_connections).values(asdict(connected)))
    return known


def of_account(connection: Connection, account_id: str) -> list[SegmentConnection]:
    """Return an account's connections, the newest first."""
    return _select_connections(connection, segment_connections.c.account_id == account_id)


def get(connection: Connection, account_id: str, connection_id: str) -> SegmentConnection | None:
    """Return an account's connection with this ID, or None."""
    is_own = segment_connections.c.account_id == account_id
    return next(iter(_select_connections(connection, is_own, segment_connections.c.id == connection_id)), None)


def of_source(connection: Connection, account_id: str, source_id: str) -> SegmentConnection | None:
    """Return an account's connection with a source, or None."""
    is_own = segment_connections.c.account_id == account_id
    return next(iter(_select_connections(connection, is_own, segment_connections.c.source_id == source_id)), None)


def remove(connection: Connection, account_id: str, connection_id: str) -> bool:
    """Delete a connection. Return False if the account has none with this ID."""
    result = connection.execute(
        delete(segment_connections).where(
            segment_connections.c.account_id == account_id, segment_connections.c.id == connection_id
        )
    )
    return result.rowcount > 0


def store_token(connection: Connection, account_id: str, token: StoredToken) -> None:
    """Store a workspace's token for an account; it replaces an earlier one."""
    _lock_account_row(connection, account_id)
    delete_token(connection, account_id)
    connection.execute(insert(segment_tokens).values(account_id=account_id, **asdict(token)))


def stored_token(connection: Connection, account_id: str) -> StoredToken | None:
    """Return the stored token of an account, or None."""
    row = connection.execute(select(segment_tokens).where(segment_tokens.c.account_id == account_id)).one_or_none()
    if row is None:
        return None
    return StoredToken(Region(row.region), row.encrypted, row.workspace_name, row.created_at)


def delete_token(connection: Connection, account_id: str) -> bool:
    """Delete the stored token of an account. Return False if there was none."""
    result = connection.execute(delete(segment_tokens).where(segment_tokens.c.account_id == account_id))
    return result.rowcount > 0


def _lock_account_row(connection: Connection, account_id: str) -> None:
    """Lock the account's row until the transaction ends, so that no other check-and-insert overlaps."""
    connection.execute(select(accounts.c.id).where(accounts.c.id == account_id).with_for_update())


def _select_connections(connection: Connection, *conditions: ColumnElement[bool]) -> list[SegmentConnection]:
    rows = connection.execute(
        select(segment_connections)
        .where(*conditions)
        .order_by(segment_connections.c.created_at.desc(), segment_connections.c.id)
    )
    return [
        SegmentConnection(**{**row._mapping, "region": Region(row.region), "kind": ConnectionKind(row.kind)})
        for row in rows
    ]
