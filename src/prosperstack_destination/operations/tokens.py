"""Tokens of operators: they open every account, so each account's audit trail tells of them."""

from sqlalchemy import Connection

from prosperstack_destination.accounts import operators
from prosperstack_destination.accounts.keys import fingerprint
from prosperstack_destination.state import accounts, auditing


def issue(connection: Connection, name: str, actor: str, now: int) -> str:
    """A new token for an operator: this is the only time that it is seen. Raises `Misconfigured` without a name.

    Tell `Operators.forget` afterwards.
    """
    token = operators.issue_token(connection, name, now)
    _record(connection, actor, "issue token", {"token": fingerprint(token), "name": name.strip()}, now)
    return token


def revoke(connection: Connection, token: str, actor: str, now: int) -> None:
    """Refuse a token, named by its fingerprint, within seconds. Raises `NotHere` where there is none that is good.

    Tell `Operators.forget` afterwards.
    """
    operators.revoke_token(connection, token, now)
    _record(connection, actor, "revoke token", {"token": token}, now)


def _record(connection: Connection, actor: str, action: str, details: dict[str, str], now: int) -> None:
    for account in accounts.all_accounts(connection):
        auditing.record(connection, account.id, now, actor=actor, action=action, details=dict(details))
