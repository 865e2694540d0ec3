"""Changing SECRET_KEY: everything that is encrypted is encrypted anew, and nobody who was erased comes back."""

from dataclasses import dataclass

from sqlalchemy import Connection

from prosperstack_destination.auth.vault import Vault
from prosperstack_destination.store import accounts, app_secrets, audit_log, credentials
from prosperstack_destination.store.credentials import EncryptedTexts


@dataclass(frozen=True, slots=True)
class ReencryptResult:
    """How much was encrypted anew."""

    account_keys: int
    shared_secrets: int
    #: Of Segment workspaces.
    segment_tokens: int


def load_pseudonym_key(connection: Connection, vault: Vault) -> None:
    """Have a vault make the pseudonyms that the database's erasures are kept under."""
    kept = app_secrets.get(connection, app_secrets.PSEUDONYMS)
    if kept is not None:
        vault.use_pseudonym_key(kept)


def reencrypt(connection: Connection, vault: Vault, actor: str, now: int) -> ReencryptResult:
    """Encrypt everything with the vault's own secret, as one change; safe to repeat.

    The key of the pseudonyms is kept from now on: it was of the first SECRET_KEY, and erasures rest on it.
    Raises `ConfigurationError` where something can be decrypted by none of the secrets; then nothing is changed.
    """
    load_pseudonym_key(connection, vault)
    stored = credentials.encrypted_texts(connection)
    anew = EncryptedTexts(
        {each: vault.reencrypt(text) for each, text in stored.account_keys.items()},
        {each: vault.reencrypt(text) for each, text in stored.shared_secrets.items()},
        {each: vault.reencrypt(text) for each, text in stored.segment_tokens.items()},
        {each: vault.reencrypt(text) for each, text in stored.kept.items()}
        | {app_secrets.PSEUDONYMS: vault.pseudonym_key()},
    )
    credentials.store_encrypted(connection, anew)
    for account in accounts.all_accounts(connection):
        audit_log.record(connection, account.id, now, actor=actor, action="reencrypt", details={})
    return ReencryptResult(len(anew.account_keys), len(anew.shared_secrets), len(anew.segment_tokens))
