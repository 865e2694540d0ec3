"""Who may use the API: operators, by tokens that are issued to them by name."""

import hmac
import secrets
from typing import Final

from sqlalchemy import Connection

from prosperstack_destination.auth.api_keys import fingerprint, key_hash
from prosperstack_destination.clock import SECOND, Clock
from prosperstack_destination.errors import ConfigurationError, InvalidToken, NotFoundError, NoTokensIssued
from prosperstack_destination.store import operator_tokens
from prosperstack_destination.store.database import Database
from prosperstack_destination.store.operator_tokens import OperatorToken

#: How tokens begin, so that nobody takes one for a key.
OPERATOR_TOKEN_PREFIX: Final = "pso_"  # noqa: S105 -- it is how they begin, and no token
#: How long the tokens are believed before they are read again, in microseconds.
CACHE_TTL: Final = 2 * SECOND


class TokenAuthenticator:
    """The operators' tokens."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._known: list[OperatorToken] = []
        self._until = 0

    async def authenticate(self, token: str | None) -> str:
        """Whose a token is. Raises `NoTokensIssued` where none was ever issued, and `InvalidToken`."""
        known = await self._active()
        if not known:
            raise NoTokensIssued
        if not token:
            raise InvalidToken("A token is needed: send it as `Authorization: Bearer pso_…`.")
        hashed, found = key_hash(token), None
        for each in known:  # every one is compared, so that the time tells nothing
            if hmac.compare_digest(each.token_hash, hashed):
                found = each
        if found is None:
            raise InvalidToken("The token is unknown or revoked: `tokens list` shows those that are good.")
        return found.name

    def invalidate(self) -> None:
        """Read the tokens anew: some are others than before."""
        self._until = 0

    async def _active(self) -> list[OperatorToken]:
        if not 0 < self._until - self._clock() <= CACHE_TTL:
            self._known = await self._database.read(operator_tokens.active)
            self._until = self._clock() + CACHE_TTL
        return self._known


def issue_token(connection: Connection, name: str, now: int) -> str:
    """A new token for an operator: this is the only time that it is seen. Raises `ConfigurationError` without a
    name.
    """
    if not name.strip():
        raise ConfigurationError("A token needs a name: it is the author of what is done with it.")
    token = OPERATOR_TOKEN_PREFIX + secrets.token_urlsafe(32)
    operator_tokens.add(connection, OperatorToken(key_hash(token), fingerprint(token), name.strip(), now, None))
    return token


def revoke_token(connection: Connection, token: str, now: int) -> None:
    """Refuse a token, named by its fingerprint, within seconds. Raises `NotFoundError` where there is none."""
    if not operator_tokens.revoke(connection, token, now):
        raise NotFoundError(f"There is no token {token!r} that is good: `tokens list` shows them.")
