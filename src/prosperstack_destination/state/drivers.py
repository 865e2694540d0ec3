"""The driver under a SQLAlchemy connection, for statements that are run all day."""

import sqlite3
from typing import cast

from sqlalchemy import Connection


def sqlite_driver(connection: Connection) -> sqlite3.Connection | None:
    """SQLite's own connection, in whose transaction a statement may be run; None on another engine.

    Through SQLAlchemy each gets a context, a cursor and a result: 15 us, where SQLite itself needs two. What goes
    wrong is raised as SQLite says it, which `state.sqlite` understands as well.
    """
    if connection.dialect.name != "sqlite":
        return None
    return cast(sqlite3.Connection, connection.connection.dbapi_connection)
