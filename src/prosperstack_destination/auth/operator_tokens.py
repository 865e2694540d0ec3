"""Authentication of operators: tokens for the API, issued by name."""

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

#: Prefix of operator tokens, so that none is taken for a key.
OPERATOR_TOKEN_PREFIX: Final = "pso_"  # noqa: S105 -- a prefix, not a token
#: Time for which the tokens are cached, in microseconds.
CACHE_TTL: Final = 2 * SECOND


class TokenAuthenticator:
    """Authenticates operators by their tokens."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._cached: list[OperatorToken] = []
        self._until = 0

    async def authenticate(self, token: str | None) -> str:
        """Return the name of a token's operator. Raises `NoTokensIssued` where none exists, and `InvalidToken`."""
        tokens = await self._active()
        if not tokens:
            raise NoTokensIssued
        if not token:
            raise InvalidToken("A token is needed: send it as `Authorization: Bearer pso_…`.")
        hashed, match = key_hash(token), None
        for each in tokens:  # all are compared, so that the time reveals nothing
            if hmac.compare_digest(each.token_hash, hashed):
                match = each
        if match is None:
            raise InvalidToken("The token is unknown or revoked. `tokens list` shows the valid ones.")
        return match.name

    def invalidate(self) -> None:
        """Read the tokens again before the next request."""
        self._until = 0

    async def _active(self) -> list[OperatorToken]:
        if not 0 < self._until - self._clock() <= CACHE_TTL:
            self._cached = await self._database.read(operator_tokens.active)
            self._until = self._clock() + CACHE_TTL
        return self._cached


def issue_token(connection: Connection, name: str, now: int) -> str:
    """Issue a token for an operator and return it: it is shown only now.

    Raises `ConfigurationError` without a name.
    """
    if not name.strip():
        raise ConfigurationError("A token needs a name: the audit log shows it as the author.")
    token = OPERATOR_TOKEN_PREFIX + secrets.token_urlsafe(32)
    operator_tokens.add(connection, OperatorToken(key_hash(token), fingerprint(token), name.strip(), now, None))
    return token


def revoke_token(connection: Connection, token: str, now: int) -> None:
    """Revoke a token, named by its fingerprint; it is refused within seconds. Raises `NotFoundError`."""
    if not operator_tokens.revoke(connection, token, now):
        raise NotFoundError(f"There is no valid token {token!r}. `tokens list` shows the valid ones.")
