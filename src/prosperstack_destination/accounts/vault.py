"""Encryption of ProsperStack keys at rest."""

import base64
import os
import secrets
from pathlib import Path
from typing import Final

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from prosperstack_destination.errors import Misconfigured

#: A shorter SECRET_KEY could be guessed, in characters.
MIN_SECRET_LENGTH: Final = 16
_PURPOSE: Final = b"prosperstack-destination: keys at rest"


class Vault:
    """Encrypts and decrypts with a key derived from SECRET_KEY. Raises `Misconfigured` for a short one."""

    def __init__(self, secret: str) -> None:
        if len(secret) < MIN_SECRET_LENGTH:
            raise Misconfigured(f"SECRET_KEY is shorter than {MIN_SECRET_LENGTH} characters: use a longer one.")
        derived = HKDF(SHA256(), length=32, salt=None, info=_PURPOSE).derive(secret.encode())
        self._fernet = Fernet(base64.urlsafe_b64encode(derived))

    def encrypt(self, text: str) -> str:
        """The text, unreadable without SECRET_KEY; another result each time."""
        return self._fernet.encrypt(text.encode()).decode()

    def decrypt(self, token: str) -> str:
        """What `encrypt` was given. Raises `Misconfigured` where SECRET_KEY is another one by now."""
        try:
            return self._fernet.decrypt(token).decode()
        except InvalidToken as error:
            raise Misconfigured(
                "A stored ProsperStack key cannot be decrypted: SECRET_KEY (or the file secret.key beside "
                "the database) is not the one it was encrypted with. Put the former one back."
            ) from error


def secret_beside(folder: Path) -> str:
    """The secret kept in ``secret.key`` in a folder: made once, readable by its owner alone."""
    path = folder / "secret.key"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        return path.read_text().strip()
    secret = secrets.token_urlsafe(32)
    with os.fdopen(file, "w") as handle:
        handle.write(secret + "\n")
    return secret
