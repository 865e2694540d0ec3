"""Accounts to test with."""

from sqlalchemy import Connection

from prosperstack_destination.store import accounts
from prosperstack_destination.store.accounts import Account, AccountStatus


def open_account(connection: Connection, account_id: str = "acct_1") -> Account:
    """A unit of work: open an account with this id."""
    account = Account(
        id=account_id,
        encrypted_key="",
        fingerprint=account_id,
        live=False,
        status=AccountStatus.ACTIVE,
        status_reason=None,
        status_until=None,
        catalog=None,
        catalog_at=None,
    )
    accounts.add(connection, account, key_hash=account_id, now=0)
    return account
