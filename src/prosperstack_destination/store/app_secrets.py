"""Transactions on secrets that belong to no account, encrypted with SECRET_KEY."""

from typing import Final

from sqlalchemy import Connection, delete, insert, select

from prosperstack_destination.store.dialects import insert_if_missing
from prosperstack_destination.store.tables import kept_secrets

#: Key of the tombstones' pseudonyms. Missing: it is derived from SECRET_KEY.
PSEUDONYMS: Final = "pseudonyms"
#: The generated operator password, if none is set.
DASHBOARD_PASSWORD: Final = "dashboard password"  # noqa: S105 -- a name, not a password


def get(connection: Connection, name: str) -> str | None:
    """Return the encrypted secret of a name, or None."""
    query = select(kept_secrets.c.encrypted).where(kept_secrets.c.name == name)
    return connection.execute(query).scalar_one_or_none()


def add(connection: Connection, name: str, encrypted: str) -> str:
    """Store an encrypted secret unless the name has one. Return the stored one."""
    insert_if_missing(connection, kept_secrets, {"name": name, "encrypted": encrypted})
    return get(connection, name) or encrypted


def every(connection: Connection) -> dict[str, str]:
    """Return all encrypted secrets by name."""
    return {row.name: row.encrypted for row in connection.execute(select(kept_secrets))}


def replace(connection: Connection, kept: dict[str, str]) -> None:
    """Replace encrypted secrets by name."""
    for name, encrypted in kept.items():
        connection.execute(delete(kept_secrets).where(kept_secrets.c.name == name))
        connection.execute(insert(kept_secrets).values(name=name, encrypted=encrypted))
