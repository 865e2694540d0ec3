"""Transactions on connector tokens, which are part of the URLs that ProsperStack calls."""

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Connection, insert, select, update

from prosperstack_destination.store.tables import connector_tokens


@dataclass(frozen=True, slots=True)
class ConnectorToken:
    """Connector token in lists, without the token itself."""

    #: Short form that identifies the token, as for revoking it.
    fingerprint: str
    #: Name given by the operator.
    name: str
    #: In microseconds since the epoch; `last_used_at` is rounded to the minute.
    created_at: int
    revoked_at: int | None
    last_used_at: int | None


def add(connection: Connection, account_id: str, token_hash: str, fingerprint: str, name: str, now: int) -> None:
    """Add a token; the account's other tokens stay active."""
    connection.execute(
        insert(connector_tokens).values(
            token_hash=token_hash, account_id=account_id, fingerprint=fingerprint, name=name, created_at=now
        )
    )


def active(connection: Connection) -> dict[str, str]:
    """Return the account IDs of all active tokens, by hash."""
    rows = connection.execute(
        select(connector_tokens.c.token_hash, connector_tokens.c.account_id).where(
            connector_tokens.c.revoked_at.is_(None)
        )
    )
    return {row.token_hash: row.account_id for row in rows}


def of_account(connection: Connection, account_id: str) -> list[ConnectorToken]:
    """Return an account's tokens, the newest first, including revoked ones."""
    rows = connection.execute(
        select(connector_tokens)
        .where(connector_tokens.c.account_id == account_id)
        .order_by(connector_tokens.c.created_at.desc(), connector_tokens.c.fingerprint)
    )
    return [
        ConnectorToken(row.fingerprint, row.name, row.created_at, row.revoked_at, row.last_used_at) for row in rows
    ]


def revoke(connection: Connection, account_id: str, fingerprint: str, now: int) -> bool:
    """Revoke a token. Return False if the account has no such active token."""
    result = connection.execute(
        update(connector_tokens)
        .where(
            connector_tokens.c.account_id == account_id,
            connector_tokens.c.fingerprint == fingerprint,
            connector_tokens.c.revoked_at.is_(None),
        )
        .values(revoked_at=now)
    )
    return result.rowcount > 0


def mark_used(connection: Connection, token_hashes: Collection[str], now: int) -> None:
    """Record the use of tokens."""
    connection.execute(
        update(connector_tokens).where(connector_tokens.c.token_hash.in_(token_hashes)).values(last_used_at=now)
    )
