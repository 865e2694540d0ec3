"""Texts that are encrypted with SECRET_KEY, and the secrets of the service itself among them."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, delete, insert, select, update

from prosperstack_destination.store.statements import insert_if_missing
from prosperstack_destination.store.tables import accounts, kept_secrets, segment_tokens, shared_secrets

#: Name of the key of the tombstones' pseudonyms. Missing: it is derived from SECRET_KEY.
PSEUDONYMS: Final = "pseudonyms"
#: Name of the generated operator password, if none is set.
DASHBOARD_PASSWORD: Final = "dashboard password"  # noqa: S105 -- a name, not a password


@dataclass(frozen=True, slots=True)
class EncryptedTexts:
    """All texts that are encrypted with SECRET_KEY: API keys by account ID, shared secrets by secret ID."""

    account_keys: dict[str, str]
    shared_secrets: dict[str, str]
    #: Tokens of Segment workspaces, by account ID.
    segment_tokens: dict[str, str]
    #: Secrets that belong to no account, by name.
    app_secrets: dict[str, str]


def load(connection: Connection) -> EncryptedTexts:
    """Return all texts that are encrypted with SECRET_KEY."""
    keys = connection.execute(select(accounts.c.id, accounts.c.encrypted_key))
    secrets = connection.execute(select(shared_secrets.c.id, shared_secrets.c.encrypted))
    tokens = connection.execute(select(segment_tokens.c.account_id, segment_tokens.c.encrypted))
    return EncryptedTexts(
        {row.id: row.encrypted_key for row in keys},
        {row.id: row.encrypted for row in secrets},
        {row.account_id: row.encrypted for row in tokens},
        {row.name: row.encrypted for row in connection.execute(select(kept_secrets))},
    )


def replace(connection: Connection, encrypted: EncryptedTexts) -> None:
    """Replace the encrypted texts."""
    for account_id, text in encrypted.account_keys.items():
        connection.execute(update(accounts).where(accounts.c.id == account_id).values(encrypted_key=text))
    for secret_id, text in encrypted.shared_secrets.items():
        connection.execute(update(shared_secrets).where(shared_secrets.c.id == secret_id).values(encrypted=text))
    for account_id, text in encrypted.segment_tokens.items():
        of_account = segment_tokens.c.account_id == account_id
        connection.execute(update(segment_tokens).where(of_account).values(encrypted=text))
    for name, text in encrypted.app_secrets.items():
        connection.execute(delete(kept_secrets).where(kept_secrets.c.name == name))
        connection.execute(insert(kept_secrets).values(name=name, encrypted=text))


def app_secret(connection: Connection, name: str) -> str | None:
    """Return the encrypted secret of a name, or None."""
    query = select(kept_secrets.c.encrypted).where(kept_secrets.c.name == name)
    return connection.execute(query).scalar_one_or_none()


def add_app_secret(connection: Connection, name: str, encrypted: str) -> str:
    """Store an encrypted secret unless the name has one. Return the stored one."""
    insert_if_missing(connection, kept_secrets, {"name": name, "encrypted": encrypted})
    return app_secret(connection, name) or encrypted
