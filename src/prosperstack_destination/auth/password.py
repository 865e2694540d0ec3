"""The operators' password for the dashboard: configured, or generated once and stored encrypted in the database."""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection

from prosperstack_destination.auth.vault import Vault
from prosperstack_destination.errors import ConfigurationError
from prosperstack_destination.store import app_secrets

#: Shortest allowed ADMIN_PASSWORD, in characters.
MIN_PASSWORD_LENGTH: Final = 8
#: Random bytes of a generated password.
GENERATED_BYTES: Final = 15


@dataclass(frozen=True, slots=True, repr=False)
class Password:
    """The password, and whether it was generated: then it has to be shown to the operator."""

    text: str
    generated: bool

    @property
    def digest(self) -> str:
        """Value that changes with the password without revealing it: passwords may be short, so no plain hash."""
        return hashlib.scrypt(self.text.encode(), salt=b"prosperstack-destination", n=2**12, r=8, p=1).hex()[:32]

    def matches(self, shown: str) -> bool:
        """Return whether a text is this password, in constant time."""
        return hmac.compare_digest(*(hashlib.sha256(each.encode()).digest() for each in (self.text, shown)))


def load_password(connection: Connection, vault: Vault, configured: str | None) -> Password | None:
    """Return the configured or generated password; None: not generated yet.

    Raises `ConfigurationError` for a short one.
    """
    if configured is not None:
        if len(configured) < MIN_PASSWORD_LENGTH:
            raise ConfigurationError(
                f"ADMIN_PASSWORD is shorter than {MIN_PASSWORD_LENGTH} characters: choose a longer one."
            )
        return Password(configured, generated=False)
    stored = app_secrets.get(connection, app_secrets.DASHBOARD_PASSWORD)
    return None if stored is None else Password(vault.decrypt(stored), generated=True)


def load_or_create_password(connection: Connection, vault: Vault, configured: str | None) -> Password:
    """Return the password; generate it once per database if needed, so that replicas share it."""
    existing = load_password(connection, vault, configured)
    if existing is not None:
        return existing
    encrypted = vault.encrypt(secrets.token_urlsafe(GENERATED_BYTES))
    stored = app_secrets.add(connection, app_secrets.DASHBOARD_PASSWORD, encrypted)
    return Password(vault.decrypt(stored), generated=True)
