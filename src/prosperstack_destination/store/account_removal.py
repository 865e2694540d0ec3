"""Units of work that remove an account with everything that is stored for it, and nothing of another's."""

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

#: What opens an account: it goes first.
_CREDENTIALS: Final = (inbound_keys, shared_secrets, connector_tokens)


def close(connection: Connection, account_id: str, until: int) -> None:
    """Refuse whatever opens an account, and have nothing sent for it until a time (microseconds)."""
    lock_account(connection, account_id, exclusive=True)
    for table in _CREDENTIALS:
        connection.execute(delete(table).where(table.c.account_id == account_id))
    set_status(connection, account_id, AccountStatus.KEY_REFUSED, reason="It is being removed.", until=until)


def remove_some(connection: Connection, account_id: str, limit: int) -> bool:
    """Delete up to ``limit`` rows of an account, tables that refer to others first; whether there may be more."""
    for table in _tables():
        keys = list(table.primary_key.columns)
        some = select(*keys).where(table.c.account_id == account_id).limit(limit)
        which = keys[0].in_(some) if len(keys) == 1 else tuple_(*keys).in_(some)
        if connection.execute(delete(table).where(which)).rowcount:
            return True
    return False


def finish(connection: Connection, account_id: str) -> bool:
    """Delete the account, and what was written for it meanwhile; False: there is no such account."""
    lock_account(connection, account_id, exclusive=True)
    for table in _tables():
        connection.execute(delete(table).where(table.c.account_id == account_id))
    connection.execute(delete(leases).where(leases.c.account_id == account_id))
    return connection.execute(delete(accounts).where(accounts.c.id == account_id)).rowcount > 0


def _tables() -> Iterator[Table]:
    """Every table with rows of accounts, but for the accounts and the leases, whose fences only grow."""
    for table in reversed(metadata.sorted_tables):
        if "account_id" in table.c and table is not leases:
            yield table
