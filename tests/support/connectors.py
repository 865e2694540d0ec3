"""Connector tokens to test with."""

from sqlalchemy import Connection

from prosperstack_destination.auth import credentials as issuing
from prosperstack_destination.store import accounts
from support.clocks import NEW_YEAR


def issue_token(connection: Connection, account_id: str) -> str:
    """A unit of work: a new connector token of an account."""
    account = accounts.get(connection, account_id)
    assert account is not None
    return issuing.issue_connector(connection, account, "test", "me", NEW_YEAR).text
