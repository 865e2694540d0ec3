"""Transactions on dashboard sessions."""

from sqlalchemy import Connection, delete, insert, select

from prosperstack_destination.store.tables import sessions


def add(connection: Connection, token_hash: str, password_mark: str, now: int, expires_at: int) -> None:
    """Open a session that expires at a time (microseconds), and delete expired sessions."""
    connection.execute(delete(sessions).where(sessions.c.expires_at <= now))
    row = {"token_hash": token_hash, "password_mark": password_mark, "created_at": now, "expires_at": expires_at}
    connection.execute(insert(sessions).values(row))


def is_open(connection: Connection, token_hash: str, password_mark: str, now: int) -> bool:
    """Return whether the token's session is open and was opened with the current password."""
    query = select(sessions.c.token_hash).where(
        sessions.c.token_hash == token_hash,
        sessions.c.password_mark == password_mark,
        sessions.c.expires_at > now,
    )
    return connection.execute(query).first() is not None


def remove(connection: Connection, token_hash: str) -> None:
    """Close a session. Safe to repeat."""
    connection.execute(delete(sessions).where(sessions.c.token_hash == token_hash))
