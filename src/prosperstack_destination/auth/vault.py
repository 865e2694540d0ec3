"""Encryption of ProsperStack keys at rest."""

import base64
import hmac
import os
import secrets
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from prosperstack_destination.errors import ConfigurationError
from prosperstack_destination.store import pseudonyms
from prosperstack_destination.store.private_files import FILE_MODE, make_private_folder

#: A shorter SECRET_KEY could be guessed, in characters.
MIN_SECRET_LENGTH: Final = 16


class Vault:
    """Encrypts with a key derived from SECRET_KEY; decrypts with those of former ones too.

    Raises `ConfigurationError` for a short one.
    """

    def __init__(self, secret: str, former: Sequence[str] = ()) -> None:
        if any(len(each) < MIN_SECRET_LENGTH for each in (secret, *former)):
            raise ConfigurationError(
                f"SECRET_KEY is shorter than {MIN_SECRET_LENGTH} characters: use a longer one."
            )
        keys = [_derived(each, b"keys at rest") for each in (secret, *former)]
        self._fernet = MultiFernet([Fernet(base64.urlsafe_b64encode(key)) for key in keys])
        # What stands for somebody must not change with SECRET_KEY: until this key is kept (`auth.key_rotation`), it
        # is of the secret that was first.
        self._pseudonyms = _derived([secret, *former][-1], b"pseudonyms")

    def encrypt(self, text: str) -> str:
        """The text, unreadable without SECRET_KEY; another result each time."""
        return self._fernet.encrypt(text.encode()).decode()

    def decrypt(self, token: str) -> str:
        """What `encrypt` was given. Raises `ConfigurationError` where SECRET_KEY is another one by now."""
        try:
            return self._fernet.decrypt(token).decode()
        except InvalidToken as error:
            raise ConfigurationError(
                "A stored ProsperStack key cannot be decrypted: SECRET_KEY (or the file secret.key beside "
                "the database) is not the one it was encrypted with. Put the former one back, or name it in "
                "FORMER_SECRET_KEYS."
            ) from error

    def reencrypt(self, token: str) -> str:
        """The same text, encrypted with SECRET_KEY. Raises `ConfigurationError` as `decrypt` does."""
        return self.encrypt(self.decrypt(token))

    def pseudonym_key(self) -> str:
        """The key of the pseudonyms, encrypted: to be kept."""
        return self.encrypt(self._pseudonyms.hex())

    def use_pseudonym_key(self, kept: str) -> None:
        """Make pseudonyms with a key that `pseudonym_key` gave once."""
        self._pseudonyms = bytes.fromhex(self.decrypt(kept))

    def pseudonym(self, text: str) -> str:
        """What stands for a text where the text itself must not be kept; nobody without SECRET_KEY can guess it."""
        return hmac.digest(self._pseudonyms, text.encode(), "sha256").hex()


def pseudonym_of_email(vault: Vault, email: str) -> str:
    """What stands for a person in what is shown of the work."""
    return pseudonyms.of_email(vault.pseudonym, email)


def _derived(secret: str, purpose: bytes) -> bytes:
    """A key for one purpose."""
    info = b"prosperstack-destination: " + purpose
    return HKDF(SHA256(), length=32, salt=None, info=info).derive(secret.encode())


def load_or_create_secret(folder: Path) -> str:
    """The secret kept in ``secret.key`` in a folder: see `secret_in`."""
    return read_secret(folder / "secret.key")


def read_secret(path: Path) -> str:
    """The secret kept in a file: made once, whoever else makes it at the same time, readable by its owner alone.

    Raises `ConfigurationError` where it cannot be written or read.
    """
    if path.is_dir():
        raise ConfigurationError(f"The secret is kept in a file, and {path} is a folder: set SECRET_KEY_FILE.")
    made = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    try:
        if not path.exists():
            make_private_folder(path.parent)
            with os.fdopen(os.open(made, os.O_CREAT | os.O_EXCL | os.O_WRONLY, FILE_MODE), "w") as handle:
                handle.write(secrets.token_urlsafe(32) + "\n")
            with suppress(FileExistsError):
                path.hardlink_to(made)  # whole or not at all, and never over another one
            made.unlink()
        secret = path.read_text("utf-8").strip()
    except UnicodeDecodeError:
        raise ConfigurationError(
            f"The secret's file {path} is no text: SECRET_KEY_FILE names a file with one line, as "
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
