"""The operator's password for the dashboard: as it is set, or made once and kept, encrypted, with the database."""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection

from prosperstack_destination.auth.vault import Vault
from prosperstack_destination.errors import ConfigurationError
from prosperstack_destination.store import app_secrets

#: A shorter ADMIN_PASSWORD could be guessed, in characters.
MIN_PASSWORD_LENGTH: Final = 8
#: What a password is made of where none is set, in bytes of chance.
GENERATED_BYTES: Final = 15


@dataclass(frozen=True, slots=True, repr=False)
class Password:
    """The password, and whether it was made here: then somebody has to be told of it."""

    text: str
    generated: bool

    @property
    def digest(self) -> str:
        """What tells it from others, and not what it is: it may be short, so a plain hash would give it away."""
        return hashlib.scrypt(self.text.encode(), salt=b"prosperstack-destination", n=2**12, r=8, p=1).hex()[:32]

    def matches(self, shown: str) -> bool:
        """Whether somebody shows this password; how long that takes tells nothing of it."""
        return hmac.compare_digest(*(hashlib.sha256(each.encode()).digest() for each in (self.text, shown)))


def load_password(connection: Connection, vault: Vault, configured: str | None) -> Password | None:
    """The password as it is set, or was made; None: none was made yet. Raises `ConfigurationError` for a short
    one.
    """
    if configured is not None:
        if len(configured) < MIN_PASSWORD_LENGTH:
            raise ConfigurationError(
                f"ADMIN_PASSWORD is shorter than {MIN_PASSWORD_LENGTH} characters: take a longer one."
            )
        return Password(configured, generated=False)
    kept = app_secrets.get(connection, app_secrets.DASHBOARD_PASSWORD)
    return None if kept is None else Password(vault.decrypt(kept), generated=True)


def load_or_create_password(connection: Connection, vault: Vault, configured: str | None) -> Password:
    """The same, which is made if need be: once for a database, so that replicas share it."""
    known = load_password(connection, vault, configured)
    if known is not None:
        return known
    made = vault.encrypt(secrets.token_urlsafe(GENERATED_BYTES))
    kept = app_secrets.add(connection, app_secrets.DASHBOARD_PASSWORD, made)
    return Password(vault.decrypt(kept), generated=True)
