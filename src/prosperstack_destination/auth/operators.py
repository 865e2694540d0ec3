"""Authentication of operators: tokens for the API, and the password of the dashboard.

The password is configured, or generated once and stored encrypted in the database.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from functools import partial
from typing import Final

from sqlalchemy import Connection

from prosperstack_destination.auth.api_keys import key_hash
from prosperstack_destination.auth.vault import Vault
from prosperstack_destination.caches import CachedRead
from prosperstack_destination.clock import SECOND, Clock
from prosperstack_destination.errors import ConfigurationError, InvalidToken, NoTokensIssued
from prosperstack_destination.store import credentials, encrypted_texts
from prosperstack_destination.store.credentials import CredentialKind
from prosperstack_destination.store.database import Database

#: Time for which the tokens are cached, in microseconds.
TOKEN_TTL: Final = 2 * SECOND
#: Shortest allowed ADMIN_PASSWORD, in characters.
MIN_PASSWORD_LENGTH: Final = 8
#: Random bytes of a generated password.
GENERATED_BYTES: Final = 15


class TokenAuthenticator:
    """Authenticates operators by their tokens."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._tokens = CachedRead(partial(database.read, credentials.active, CredentialKind.TOKEN), clock)

    async def authenticate(self, token: str | None) -> str:
        """Return the name of a token's operator. Raises `NoTokensIssued` where none exists, and `InvalidToken`."""
        tokens = await self._tokens.get(TOKEN_TTL)
        if not tokens:
            raise NoTokensIssued
        if not token:
            raise InvalidToken("A token is needed: send it as `Authorization: Bearer pso_…`.")
        hashed, match = key_hash(token), None
        for each in tokens:  # all are compared, so that the time reveals nothing
            if hmac.compare_digest(each.hash, hashed):
                match = each
        if match is None:
            raise InvalidToken("The token is unknown or revoked. `tokens list` shows the valid ones.")
        return match.name

    def invalidate(self) -> None:
        """Read the tokens again before the next request."""
        self._tokens.invalidate()


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
    stored = encrypted_texts.app_secret(connection, encrypted_texts.DASHBOARD_PASSWORD)
    return None if stored is None else Password(vault.decrypt(stored), generated=True)


def load_or_create_password(connection: Connection, vault: Vault, configured: str | None) -> Password:
    """Return the password; generate it once per database if needed, so that replicas share it."""
    existing = load_password(connection, vault, configured)
    if existing is not None:
        return existing
    encrypted = vault.encrypt(secrets.token_urlsafe(GENERATED_BYTES))
    stored = encrypted_texts.add_app_secret(connection, encrypted_texts.DASHBOARD_PASSWORD, encrypted)
    return Password(vault.decrypt(stored), generated=True)
