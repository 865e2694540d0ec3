"""Issuing and revoking credentials of all kinds, and opening accounts by their ProsperStack keys."""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from pydantic import JsonValue
from sqlalchemy import Connection

from prosperstack_destination.auth.api_keys import (
    CONNECTOR_TOKEN_PREFIX,
    ISSUED_PREFIX,
    OPERATOR_TOKEN_PREFIX,
    PUBLIC_PREFIX,
    fingerprint,
    is_live_key,
    is_prosperstack_key,
    key_hash,
)
from prosperstack_destination.auth.public_keys import read_origins
from prosperstack_destination.auth.vault import Vault
from prosperstack_destination.errors import InvalidInput, NotFoundError
from prosperstack_destination.store import accounts as rows
from prosperstack_destination.store import activity, credentials
from prosperstack_destination.store.accounts import Account, AccountStatus
from prosperstack_destination.store.credentials import Credential, CredentialKind, KeyOrigin


@dataclass(frozen=True, slots=True)
class Issued:
    """New credential. Its text is shown only now."""

    #: Identifies it in lists, as for revoking it.
    id: str
    text: str = field(repr=False)


def new_account(key: str, vault: Vault) -> Account:
    """Return a new account for a ProsperStack key, not stored yet."""
    return Account(
        id=f"acct_{secrets.token_urlsafe(12)}",
        hash_secret=secrets.token_hex(32),
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

    Raises `InvalidInput` for a text that is not a key.
    """
    if not is_prosperstack_key(key):
        raise InvalidInput("This is not a ProsperStack API key: keys begin with key_ (live) or key_test_ (test).")
    account = rows.find_by_key_hash(connection, key_hash(key))
    if account is None:
        account = new_account(key, vault)
        rows.add(connection, account, key_hash(key), now)
        activity.record_action(connection, account.id, now, actor=actor, action="register account", details={})
    return account


def replace_key(connection: Connection, account: Account, key: str, vault: Vault, actor: str, now: int) -> Account:
    """Replace an account's ProsperStack key; all its data stays. Safe to repeat.

    The reconciler finds out within seconds whether ProsperStack accepts the key. Raises `InvalidInput` for a
    text that is not a key, a key of the other mode, or another account's key.
    """
    if not is_prosperstack_key(key):
        raise InvalidInput("This is not a ProsperStack API key: keys begin with key_ (live) or key_test_ (test).")
    if is_live_key(key) is not account.live:
        mode = "live" if account.live else "test"
        raise InvalidInput(f"{account.fingerprint} is an account of {mode} mode, and the key is of the other mode.")
    owner = rows.find_by_key_hash(connection, key_hash(key))
    if owner is not None and owner.id != account.id:
        raise InvalidInput(f"The key already belongs to another account, {owner.id}.")
    renewed = replace(account, encrypted_key=vault.encrypt(key), fingerprint=fingerprint(key))
    rows.replace_key(connection, renewed, key_hash(key), AccountStatus.RETRYING)
    details = {"before": account.fingerprint, "now": renewed.fingerprint}
    activity.record_action(connection, account.id, now, actor=actor, action="replace key", details={**details})
    return renewed


def inbound_key(account_id: str, key: str, origin: KeyOrigin, now: int, name: str = "") -> Credential:
    """Return an inbound key as it is stored."""
    return Credential(
        CredentialKind.KEY, fingerprint(key), key_hash(key), account_id, name=name, created_at=now, origin=origin
    )


def issue_key(
    connection: Connection,
    account: Account,
    name: str,
    actor: str,
    now: int,
    *,
    origins: Iterable[str] | None = None,
) -> Issued:
    """Issue an inbound key.

    With ``origins`` it is a public key: it may only identify, from pages of these origins, or from apps where there
    are none, and every visitor of the page or user of the app can read it. Raises `InvalidInput` for an
    invalid origin.
    """
    allowed = None if origins is None else read_origins(origins)
    key = (ISSUED_PREFIX if allowed is None else PUBLIC_PREFIX) + secrets.token_urlsafe(24)
    issued = replace(inbound_key(account.id, key, KeyOrigin.ISSUED, now, name), origins=allowed)
    return _issue(connection, issued, key, actor)


def issue_secret(connection: Connection, account: Account, name: str, vault: Vault, actor: str, now: int) -> Issued:
    """Issue a shared secret for signed webhooks; the account's other secrets stay active."""
    secret, secret_id = secrets.token_urlsafe(32), f"sec_{secrets.token_hex(4)}"
    encrypted = vault.encrypt(secret)
    issued = Credential(CredentialKind.SECRET, secret_id, secret_id, account.id, name, now, encrypted=encrypted)
    return _issue(connection, issued, secret, actor)


def issue_connector(connection: Connection, account: Account, name: str, actor: str, now: int) -> Issued:
    """Issue a connector token; the account's other tokens stay active."""
    token = CONNECTOR_TOKEN_PREFIX + secrets.token_urlsafe(24)
    issued = Credential(CredentialKind.CONNECTOR, fingerprint(token), key_hash(token), account.id, name, now)
    return _issue(connection, issued, token, actor)


def issue_token(connection: Connection, name: str, actor: str, now: int) -> Issued:
    """Issue an operator token. It opens every account, so each account's audit log records it.

    Raises `InvalidInput` without a name.
    """
    if not name.strip():
        raise InvalidInput("A token needs a name: the audit log shows it as the author.")
    token = OPERATOR_TOKEN_PREFIX + secrets.token_urlsafe(32)
    issued = Credential(CredentialKind.TOKEN, fingerprint(token), key_hash(token), "", name.strip(), now)
    return _issue(connection, issued, token, actor)


def revoke(
    connection: Connection, kind: CredentialKind, account: Account | None, credential_id: str, actor: str, now: int
) -> None:
    """Revoke a credential of an account, or an operator token (None), by its ID; it is refused within seconds.

    Raises `NotFoundError`.
    """
    account_id = "" if account is None else account.id
    if not credentials.revoke(connection, kind, credential_id, now, account_id or None):
        subject = "There is" if account is None else "The account has"
        raise NotFoundError(f"{subject} no valid {kind} {credential_id!r}. `{kind}s list` shows the valid ones.")
    _record(connection, account_id, actor, f"revoke {kind}", {kind.value: credential_id}, now)


def _issue(connection: Connection, credential: Credential, text: str, actor: str) -> Issued:
    credentials.accept(connection, credential)
    details: dict[str, JsonValue] = {credential.kind.value: credential.id, "name": credential.name}
    action = f"issue {credential.kind}"
    if credential.origins is not None:
        action, details["origins"] = "issue public key", list(credential.origins)
    _record(connection, credential.account_id, actor, action, details, credential.created_at)
    return Issued(credential.id, text)


def _record(
    connection: Connection, account_id: str, actor: str, action: str, details: dict[str, JsonValue], now: int
) -> None:
    """Record an action in the audit log of its account, or of all accounts where it has none."""
    for each_id in [account_id] if account_id else [each.id for each in rows.all_accounts(connection)]:
        activity.record_action(connection, each_id, now, actor=actor, action=action, details=details)
