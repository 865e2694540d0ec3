"""Units of work on who is logged in to the dashboard."""

from sqlalchemy import Connection, delete, insert, select

from prosperstack_destination.store.tables import sessions


def add(connection: Connection, token_hash: str, password_mark: str, now: int, expires_at: int) -> None:
    """Note that somebody is logged in until a time (microseconds); those whose time is over go."""
    connection.execute(delete(sessions).where(sessions.c.expires_at <= now))
    row = {"token_hash": token_hash, "password_mark": password_mark, "created_at": now, "expires_at": expires_at}
    connection.execute(insert(sessions).values(row))


def is_open(connection: Connection, token_hash: str, password_mark: str, now: int) -> bool:
    """Whether somebody is logged in by this token, with the password that is in force."""
    query = select(sessions.c.token_hash).where(
        sessions.c.token_hash == token_hash,
        sessions.c.password_mark == password_mark,
        sessions.c.expires_at > now,
    )
    return connection.execute(query).first() is not None


def remove(connection: Connection, token_hash: str) -> None:
    """Log somebody out. Safe to repeat."""
    connection.execute(delete(sessions).where(sessions.c.token_hash == token_hash))
