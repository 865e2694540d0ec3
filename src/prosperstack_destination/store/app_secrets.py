"""Units of work on what is kept encrypted with SECRET_KEY and belongs to no account."""

from typing import Final

from sqlalchemy import Connection, delete, insert, select

from prosperstack_destination.store.dialects import insert_unless_there
from prosperstack_destination.store.tables import kept_secrets

#: The key of the pseudonyms that erasures are kept under; not there: it is still that of SECRET_KEY.
PSEUDONYMS: Final = "pseudonyms"
#: The operator's password, where none is set.
DASHBOARD_PASSWORD: Final = "dashboard password"  # noqa: S105 -- what it is kept under


def get(connection: Connection, name: str) -> str | None:
    """What is kept under a name, encrypted; None: nothing."""
    query = select(kept_secrets.c.encrypted).where(kept_secrets.c.name == name)
    return connection.execute(query).scalar_one_or_none()


def add(connection: Connection, name: str, encrypted: str) -> str:
    """Keep something, encrypted, unless something is kept under the name already; what is kept."""
    insert_unless_there(connection, kept_secrets, {"name": name, "encrypted": encrypted})
    return get(connection, name) or encrypted


def every(connection: Connection) -> dict[str, str]:
    """All that is kept, encrypted, by name."""
    return {row.name: row.encrypted for row in connection.execute(select(kept_secrets))}


def replace(connection: Connection, kept: dict[str, str]) -> None:
    """Put other encryptions in their places."""
    for name, encrypted in kept.items():
        connection.execute(delete(kept_secrets).where(kept_secrets.c.name == name))
        connection.execute(insert(kept_secrets).values(name=name, encrypted=encrypted))
