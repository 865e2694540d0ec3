"""Credentials of all kinds: list, issue and revoke; the dashboard's password, and the rotation of SECRET_KEY.

Call `AdminServices.invalidate_credentials` after a change.
"""

from collections.abc import Iterable

from sqlalchemy import Connection

from prosperstack_destination.auth import credentials as issuing
from prosperstack_destination.auth.credentials import Issued
from prosperstack_destination.auth.operators import Password, load_or_create_password
from prosperstack_destination.auth.vault import ReencryptResult, Vault, reencrypt_all
from prosperstack_destination.store import credentials
from prosperstack_destination.store.accounts import Account
from prosperstack_destination.store.credentials import Credential, CredentialKind


def list_credentials(
    connection: Connection, kind: CredentialKind, account: Account | None = None
) -> list[Credential]:
    """Return an account's credentials of a kind, or all operator tokens: newest first, with revoked ones."""
    return credentials.of_kind(connection, kind, None if account is None else account.id)


def find_active(
    connection: Connection, kind: CredentialKind, account: Account, credential_id: str
) -> Credential | None:
    """Return an account's credential that is not revoked; None if there is none with this ID."""
    active = credentials.active(connection, kind, account.id)
    return next((each for each in active if each.id == credential_id), None)


def issue(
    connection: Connection,
    kind: CredentialKind,
    account: Account,
    name: str,
    vault: Vault,
    actor: str,
    now: int,
    origins: Iterable[str] | None = None,
) -> Issued:
    """Issue a credential of an account; its other credentials stay active.

    With ``origins`` a key is a public one (see `auth.credentials.issue_key`). Raises `InvalidInput` for an
    invalid origin.
    """
    match kind:
        case CredentialKind.SECRET:
            return issuing.issue_secret(connection, account, name, vault, actor, now)
        case CredentialKind.CONNECTOR:
            return issuing.issue_connector(connection, account, name, actor, now)
        case CredentialKind.KEY:
            return issuing.issue_key(connection, account, name, actor, now, origins=origins)
        case CredentialKind.TOKEN:
            raise ValueError("an operator token belongs to no account: see `issue_token`")


def issue_token(connection: Connection, name: str, actor: str, now: int) -> Issued:
    """Issue an operator token, which opens every account. Raises `InvalidInput` without a name."""
    return issuing.issue_token(connection, name, actor, now)


def revoke(
    connection: Connection, kind: CredentialKind, account: Account | None, credential_id: str, actor: str, now: int
) -> None:
    """Revoke a credential of an account, or an operator token (None), by its ID. Raises `NotFoundError`."""
    issuing.revoke(connection, kind, account, credential_id, actor, now)


def generated_password(connection: Connection, vault: Vault) -> Password:
    """Return the generated password of the dashboard, creating it if there is none."""
    return load_or_create_password(connection, vault, None)


def reencrypt(connection: Connection, vault: Vault, actor: str, now: int) -> ReencryptResult:
    """Encrypt every stored secret with SECRET_KEY, the second step of its rotation. Safe to repeat."""
    return reencrypt_all(connection, vault, actor, now)
