"""Tokens of operators: they open every account, so each account's audit trail tells of them."""

from sqlalchemy import Connection

from prosperstack_destination.auth import operator_tokens
from prosperstack_destination.auth.api_keys import fingerprint
from prosperstack_destination.store import accounts, audit_log


def issue(connection: Connection, name: str, actor: str, now: int) -> str:
    """A new token for an operator: this is the only time that it is seen. Raises `ConfigurationError` without a
    name.

    Tell `TokenAuthenticator.invalidate` afterwards.
    """
    token = operator_tokens.issue_token(connection, name, now)
    _record(connection, actor, "issue token", {"token": fingerprint(token), "name": name.strip()}, now)
    return token


def revoke(connection: Connection, token: str, actor: str, now: int) -> None:
    """Refuse a token, named by its fingerprint, within seconds. Raises `NotFoundError` where there is none that
    is good.

    Tell `TokenAuthenticator.invalidate` afterwards.
    """
    operator_tokens.revoke_token(connection, token, now)
    _record(connection, actor, "revoke token", {"token": token}, now)


def _record(connection: Connection, actor: str, action: str, details: dict[str, str], now: int) -> None:
    for account in accounts.all_accounts(connection):
        audit_log.record(connection, account.id, now, actor=actor, action=action, details=dict(details))
