"""Transactions on operator tokens, which are stored as hashes."""

from dataclasses import dataclass

from sqlalchemy import Connection, insert, select, update

from prosperstack_destination.store.tables import operator_tokens


@dataclass(frozen=True, slots=True)
class OperatorToken:
    """Operator token, without the token itself."""

    token_hash: str
    fingerprint: str
    #: Name of the operator.
    name: str
    #: In microseconds since the epoch.
    created_at: int
    revoked_at: int | None


def add(connection: Connection, token: OperatorToken) -> None:
    """Add a token."""
    connection.execute(
        insert(operator_tokens).values(
            token_hash=token.token_hash,
            fingerprint=token.fingerprint,
            name=token.name,
            created_at=token.created_at,
        )
    )


def all_tokens(connection: Connection) -> list[OperatorToken]:
    """Return all tokens, the oldest first, including revoked ones."""
    rows = connection.execute(select(operator_tokens).order_by(operator_tokens.c.created_at))
    return [
        OperatorToken(row.token_hash, row.fingerprint, row.name, row.created_at, row.revoked_at) for row in rows
    ]


def active(connection: Connection) -> list[OperatorToken]:
    """Return the active tokens."""
    return [each for each in all_tokens(connection) if each.revoked_at is None]


def revoke(connection: Connection, fingerprint: str, now: int) -> bool:
    """Revoke a token. Return False if there is no such active token."""
    result = connection.execute(
        update(operator_tokens)
        .where(operator_tokens.c.fingerprint == fingerprint, operator_tokens.c.revoked_at.is_(None))
        .values(revoked_at=now)
    )
    return result.rowcount > 0
