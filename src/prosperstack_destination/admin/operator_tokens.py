"""Issue and revoke operator tokens. They open every account, so each account's audit log records them."""

from sqlalchemy import Connection

from prosperstack_destination.auth import operator_tokens
from prosperstack_destination.auth.api_keys import fingerprint
from prosperstack_destination.store import accounts, audit_log


def issue(connection: Connection, name: str, actor: str, now: int) -> str:
    """Issue an operator token, and return it; it is not shown again.

    Call `TokenAuthenticator.invalidate` afterwards. Raises `ConfigurationError` if the name is empty.
    """
    token = operator_tokens.issue_token(connection, name, now)
    _record(connection, actor, "issue token", {"token": fingerprint(token), "name": name.strip()}, now)
    return token


def revoke(connection: Connection, token: str, actor: str, now: int) -> None:
    """Revoke a token by its fingerprint; it is refused within seconds.

    Call `TokenAuthenticator.invalidate` afterwards. Raises `NotFoundError` if no valid token has the fingerprint.
    """
    operator_tokens.revoke_token(connection, token, now)
    _record(connection, actor, "revoke token", {"token": token}, now)


def _record(connection: Connection, actor: str, action: str, details: dict[str, str], now: int) -> None:
    for account in accounts.all_accounts(connection):
        audit_log.record(connection, account.id, now, actor=actor, action=action, details=dict(details))
