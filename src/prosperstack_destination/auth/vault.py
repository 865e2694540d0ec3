"""Encryption of stored secrets and its rotation, and pseudonyms."""

import base64
import hmac
import os
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from sqlalchemy import Connection

from prosperstack_destination.errors import ConfigurationError
from prosperstack_destination.store import accounts, activity, encrypted_texts, pseudonyms
from prosperstack_destination.store.encrypted_texts import EncryptedTexts
from prosperstack_destination.store.files import FILE_MODE, make_private_folder

#: Shortest allowed SECRET_KEY, in characters.
MIN_SECRET_LENGTH: Final = 16


class Vault:
    """Encrypts with a key derived from SECRET_KEY; decrypts with those of former ones too.

    Raises `ConfigurationError` for a short secret.
    """

    def __init__(self, secret: str, former: Sequence[str] = ()) -> None:
        if any(len(each) < MIN_SECRET_LENGTH for each in (secret, *former)):
            raise ConfigurationError(
                f"SECRET_KEY is shorter than {MIN_SECRET_LENGTH} characters: use a longer one."
            )
        keys = [_derived(each, b"keys at rest") for each in (secret, *former)]
        self._fernet = MultiFernet([Fernet(base64.urlsafe_b64encode(key)) for key in keys])
        # Pseudonyms must not change with SECRET_KEY: until this key is stored (`auth.vault`), it derives
        # from the first secret.
        self._pseudonyms = _derived([secret, *former][-1], b"pseudonyms")

    def encrypt(self, text: str) -> str:
        """Encrypt a text with SECRET_KEY; the result differs each time."""
        return self._fernet.encrypt(text.encode()).decode()

    def decrypt(self, token: str) -> str:
        """Decrypt the result of `encrypt`. Raises `ConfigurationError` where SECRET_KEY has changed."""
        try:
            return self._fernet.decrypt(token).decode()
        except InvalidToken as error:
            raise ConfigurationError(
                "A stored ProsperStack key cannot be decrypted: SECRET_KEY (or the file secret.key next to "
                "the database) is not the one it was encrypted with. Put the former one back, or name it in "
                "FORMER_SECRET_KEYS."
            ) from error

    def reencrypt(self, token: str) -> str:
        """Encrypt a text again, with SECRET_KEY. Raises `ConfigurationError` as `decrypt` does."""
        return self.encrypt(self.decrypt(token))

    def pseudonym_key(self) -> str:
        """Return the pseudonym key, encrypted, for storage."""
        return self.encrypt(self._pseudonyms.hex())

    def use_pseudonym_key(self, stored: str) -> None:
        """Use a stored pseudonym key."""
        self._pseudonyms = bytes.fromhex(self.decrypt(stored))

    def pseudonym(self, text: str) -> str:
        """Return a pseudonym of a text that is not stored. Without SECRET_KEY it cannot be guessed."""
        return hmac.digest(self._pseudonyms, text.encode(), "sha256").hex()


def pseudonym_of_email(vault: Vault, email: str) -> str:
    """Return the pseudonym of a person, as shown in the activity feed."""
    return pseudonyms.of_email(vault.pseudonym, email)


def _derived(secret: str, purpose: bytes) -> bytes:
    """Derive a key for one purpose."""
    info = b"prosperstack-destination: " + purpose
    return HKDF(SHA256(), length=32, salt=None, info=info).derive(secret.encode())


def load_or_create_secret(folder: Path) -> str:
    """Return the secret in a folder's ``secret.key``: see `read_secret`."""
    return read_secret(folder / "secret.key")


def read_secret(path: Path) -> str:
    """Return the secret in a file, and create the file if there is none.

    Concurrent creation is safe, and only its owner can read the file. Raises `ConfigurationError` where it cannot
    be written or read.
    """
    if path.is_dir():
        raise ConfigurationError(f"The secret is kept in a file, and {path} is a folder: set SECRET_KEY_FILE.")
    new_file = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    try:
        if not path.exists():
            make_private_folder(path.parent)
            with os.fdopen(os.open(new_file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, FILE_MODE), "w") as handle:
                handle.write(secrets.token_urlsafe(32) + "\n")
            with suppress(FileExistsError):
                path.hardlink_to(new_file)  # atomic, and never over an existing file
            new_file.unlink()
        secret = path.read_text("utf-8").strip()
    except UnicodeDecodeError:
        raise ConfigurationError(
            f"The secret's file {path} is not text: SECRET_KEY_FILE names a file with one line, as "
            "`openssl rand -base64 32` writes it."
        ) from None
    except OSError as error:
        raise ConfigurationError(
            f"The secret's file {path} cannot be read or written ({error.strerror}): give its folder to the user "
            "who runs the service, or set DATA_DIR or SECRET_KEY_FILE to another one."
        ) from error
    if len(secret) < MIN_SECRET_LENGTH:
        raise ConfigurationError(
            f"The secret in {path} has {len(secret)} characters, fewer than {MIN_SECRET_LENGTH}: restore the file, "
            "or, where nothing was encrypted with it yet, remove it, so that one is made."
        )
    return secret


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


def reencrypt_all(connection: Connection, vault: Vault, actor: str, now: int) -> ReencryptResult:
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
