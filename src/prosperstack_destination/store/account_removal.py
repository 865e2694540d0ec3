"""Transactions that remove an account with everything that is stored for it."""

from collections.abc import Iterator
from typing import Final

from sqlalchemy import Connection, Table, delete, select, tuple_

from prosperstack_destination.store.accounts import AccountStatus, set_status
from prosperstack_destination.store.dialects import lock_account
from prosperstack_destination.store.tables import (
    accounts,
    connector_tokens,
    inbound_keys,
    leases,
    metadata,
    shared_secrets,
)

#: Tables of the credentials that open an account; they are deleted first.
_CREDENTIALS: Final = (inbound_keys, shared_secrets, connector_tokens)


def close(connection: Connection, account_id: str, until: int) -> None:
    """Delete the credentials of an account, and stop deliveries until a time (microseconds)."""
    lock_account(connection, account_id, exclusive=True)
    for table in _CREDENTIALS:
        connection.execute(delete(table).where(table.c.account_id == account_id))
    set_status(connection, account_id, AccountStatus.KEY_REFUSED, reason="It is being removed.", until=until)


def remove_some(connection: Connection, account_id: str, limit: int) -> bool:
    """Delete up to ``limit`` rows of an account, referring tables first. Return whether more may be left."""
    for table in _tables():
        keys = list(table.primary_key.columns)
        some = select(*keys).where(table.c.account_id == account_id).limit(limit)
        which = keys[0].in_(some) if len(keys) == 1 else tuple_(*keys).in_(some)
        if connection.execute(delete(table).where(which)).rowcount:
            return True
    return False


def finish(connection: Connection, account_id: str) -> bool:
    """Delete the account, and rows written for it in the meantime. Return False if there is no such account."""
    lock_account(connection, account_id, exclusive=True)
    for table in _tables():
        connection.execute(delete(table).where(table.c.account_id == account_id))
    connection.execute(delete(leases).where(leases.c.account_id == account_id))
    return connection.execute(delete(accounts).where(accounts.c.id == account_id)).rowcount > 0


def _tables() -> Iterator[Table]:
    """Return every table with an account's rows except accounts and leases, since fences must only grow."""
    for table in reversed(metadata.sorted_tables):
        if "account_id" in table.c and table is not leases:
            yield table
