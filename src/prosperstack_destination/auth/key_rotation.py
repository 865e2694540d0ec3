"""Rotation of SECRET_KEY: re-encrypt everything, and keep erased people erased."""

from dataclasses import dataclass

from sqlalchemy import Connection

from prosperstack_destination.auth.vault import Vault
from prosperstack_destination.store import accounts, activity, encrypted_texts
from prosperstack_destination.store.encrypted_texts import EncryptedTexts


@dataclass(frozen=True, slots=True)
class ReencryptResult:
    """Numbers of re-encrypted texts."""

    account_keys: int
    shared_secrets: int
    #: Tokens of Segment workspaces.
    segment_tokens: int


def load_pseudonym_key(connection: Connection, vault: Vault) -> None:
    """Set a vault's pseudonym key to the one that the database's erasures use."""
    stored = encrypted_texts.app_secret(connection, encrypted_texts.PSEUDONYMS)
    if stored is not None:
        vault.use_pseudonym_key(stored)


def reencrypt(connection: Connection, vault: Vault, actor: str, now: int) -> ReencryptResult:
    """Encrypt everything with the vault's current secret, in one transaction; safe to repeat.

    The pseudonym key is stored from now on: it derives from the first SECRET_KEY, and erasures depend on it. Raises
    `ConfigurationError` where a text can be decrypted by none of the secrets; then nothing changes.
    """
    load_pseudonym_key(connection, vault)
    stored = encrypted_texts.load(connection)
    reencrypted = EncryptedTexts(
        {each: vault.reencrypt(text) for each, text in stored.account_keys.items()},
        {each: vault.reencrypt(text) for each, text in stored.shared_secrets.items()},
        {each: vault.reencrypt(text) for each, text in stored.segment_tokens.items()},
        {each: vault.reencrypt(text) for each, text in stored.app_secrets.items()}
        | {encrypted_texts.PSEUDONYMS: vault.pseudonym_key()},
    )
    encrypted_texts.replace(connection, reencrypted)
    for account in accounts.all_accounts(connection):
        activity.record_action(connection, account.id, now, actor=actor, action="reencrypt", details={})
    return ReencryptResult(
        len(reencrypted.account_keys), len(reencrypted.shared_secrets), len(reencrypted.segment_tokens)
    )
