"""Issuing and revoking credentials: inbound keys, shared secrets and connector tokens, each shown once."""

import secrets
from collections.abc import Iterable
from dataclasses import replace

from pydantic import JsonValue
from sqlalchemy import Connection

from prosperstack_destination.auth.api_keys import (
    ISSUED_PREFIX,
    PUBLIC_PREFIX,
    fingerprint,
    is_live_key,
    is_prosperstack_key,
    key_hash,
)
from prosperstack_destination.auth.origins import read_origins
from prosperstack_destination.auth.vault import Vault
from prosperstack_destination.errors import ConfigurationError, NotFoundError
from prosperstack_destination.store import accounts as rows
from prosperstack_destination.store import audit_log, connector_tokens, credentials
from prosperstack_destination.store.accounts import Account, AccountStatus
from prosperstack_destination.store.credentials import InboundKey, KeyOrigin

#: Prefix of connector tokens.
CONNECTOR_TOKEN_PREFIX = "psc_"  # noqa: S105 -- a prefix, not a token


def new_account(key: str, vault: Vault) -> Account:
    """Return a new account for a ProsperStack key, not stored yet."""
    return Account(
        id=f"acct_{secrets.token_urlsafe(12)}",
        encrypted_key=vault.encrypt(key),
        fingerprint=fingerprint(key),
        live=is_live_key(key),
        status=AccountStatus.ACTIVE,
        status_reason=None,
        status_until=None,
        catalog=None,
        catalog_at=None,
    )


def open_account(connection: Connection, key: str, vault: Vault, actor: str, now: int) -> Account:
    """Open the account of a ProsperStack key, or return the existing one.

    Raises `ConfigurationError` for a text that is no key.
    """
    if not is_prosperstack_key(key):
        raise ConfigurationError(
            "This is not a ProsperStack API key: keys begin with key_ (live) or key_test_ (test)."
        )
    account = rows.find_by_key_hash(connection, key_hash(key))
    if account is None:
        account = new_account(key, vault)
        rows.add(connection, account, key_hash(key), now)
        audit_log.record(connection, account.id, now, actor=actor, action="register account", details={})
    return account


def replace_key(connection: Connection, account: Account, key: str, vault: Vault, actor: str, now: int) -> Account:
    """Replace an account's ProsperStack key; all its data stays. Safe to repeat.

    The reconciler finds out within seconds whether ProsperStack accepts the key. Raises `ConfigurationError` for a
    text that is no key, a key of the other mode, or another account's key.
    """
    if not is_prosperstack_key(key):
        raise ConfigurationError(
            "This is not a ProsperStack API key: keys begin with key_ (live) or key_test_ (test)."
        )
    if is_live_key(key) is not account.live:
        mode = "live" if account.live else "test"
        raise ConfigurationError(
            f"{account.fingerprint} is an account of {mode} mode, and the key is of the other mode."
        )
    owner = rows.find_by_key_hash(connection, key_hash(key))
    if owner is not None and owner.id != account.id:
        raise ConfigurationError(f"The key already belongs to another account, {owner.id}.")
    renewed = replace(account, encrypted_key=vault.encrypt(key), fingerprint=fingerprint(key))
    rows.replace_key(connection, renewed, key_hash(key), AccountStatus.RETRYING)
    details = {"before": account.fingerprint, "now": renewed.fingerprint}
    audit_log.record(connection, account.id, now, actor=actor, action="replace key", details={**details})
    return renewed


def issue_key(connection: Connection, account: Account, name: str, actor: str, now: int) -> str:
    """Issue an inbound key and return it: it is shown only now."""
    key = ISSUED_PREFIX + secrets.token_urlsafe(24)
    credentials.accept_key(
        connection, account.id, InboundKey(key_hash(key), fingerprint(key), KeyOrigin.ISSUED, name), now
    )
    details = {"key": fingerprint(key), "name": name}
    audit_log.record(connection, account.id, now, actor=actor, action="issue key", details=details)
    return key


def issue_public_key(
    connection: Connection, account: Account, name: str, origins: Iterable[str], actor: str, now: int
) -> str:
    """Issue a key that may only identify, from pages of these origins, or from apps where there are none.

    Returns the key, which is no secret: every visitor of the page or user of the app can read it. Raises
    `ConfigurationError` for an invalid origin.
    """
    key, allowed = PUBLIC_PREFIX + secrets.token_urlsafe(24), read_origins(origins)
    issued = InboundKey(key_hash(key), fingerprint(key), KeyOrigin.ISSUED, name, allowed)
    credentials.accept_key(connection, account.id, issued, now)
    details: dict[str, JsonValue] = {"key": fingerprint(key), "name": name, "origins": list(allowed)}
    audit_log.record(connection, account.id, now, actor=actor, action="issue public key", details=details)
    return key


def revoke_key(connection: Connection, account: Account, key: str, actor: str, now: int) -> None:
    """Revoke a key, named by its fingerprint; it is refused within seconds. Raises `NotFoundError`."""
    if not credentials.revoke_key(connection, account.id, key, now):
        raise NotFoundError(f"The account has no valid key {key!r}. `keys list` shows the valid ones.")
    audit_log.record(connection, account.id, now, actor=actor, action="revoke key", details={"key": key})


def new_secret_id() -> str:
    """Return a new id under which a shared secret is listed and revoked."""
    return f"sec_{secrets.token_hex(4)}"


def issue_secret(
    connection: Connection,
    account: Account,
    name: str,
    vault: Vault,
    actor: str,
    now: int,
    *,
    secret_id: str | None = None,
) -> str:
    """Issue a shared secret for signed webhooks and return it: it is shown only now."""
    secret, secret_id = secrets.token_urlsafe(32), secret_id or new_secret_id()
    credentials.add_secret(connection, account.id, secret_id, vault.encrypt(secret), name, now)
    details = {"secret": secret_id, "name": name}
    audit_log.record(connection, account.id, now, actor=actor, action="issue secret", details=details)
    return secret


def revoke_secret(connection: Connection, account: Account, secret_id: str, actor: str, now: int) -> None:
    """Revoke a shared secret; its signatures are refused within seconds. Raises `NotFoundError`."""
    if not credentials.revoke_secret(connection, account.id, secret_id, now):
        raise NotFoundError(f"The account has no valid secret {secret_id!r}. `secrets list` shows the valid ones.")
    audit_log.record(
        connection, account.id, now, actor=actor, action="revoke secret", details={"secret": secret_id}
    )


def issue_connector(connection: Connection, account: Account, name: str, actor: str, now: int) -> str:
    """Issue a connector token and return it: it is shown only now."""
    token = CONNECTOR_TOKEN_PREFIX + secrets.token_urlsafe(24)
    connector_tokens.add(connection, account.id, key_hash(token), fingerprint(token), name, now)
    details = {"connector": fingerprint(token), "name": name}
    audit_log.record(connection, account.id, now, actor=actor, action="issue connector", details=details)
    return token


def revoke_connector(connection: Connection, account: Account, token: str, actor: str, now: int) -> None:
    """Revoke a connector token, named by its fingerprint. Raises `NotFoundError`."""
    if not connector_tokens.revoke(connection, account.id, token, now):
        raise NotFoundError(
            f"The account has no valid connector {token!r}. `connectors list` shows the valid ones."
        )
    details = {"connector": token}
    audit_log.record(connection, account.id, now, actor=actor, action="revoke connector", details=details)
