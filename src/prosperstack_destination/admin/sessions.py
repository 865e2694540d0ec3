"""Login sessions: an HttpOnly cookie, and a CSRF token in each form."""

import asyncio
import hashlib
import hmac
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Final

from prosperstack_destination.admin.login_throttle import LoginThrottle
from prosperstack_destination.auth.operators import Password
from prosperstack_destination.clock import DAY, Clock
from prosperstack_destination.errors import LoginFailed
from prosperstack_destination.proxy_headers import client_network
from prosperstack_destination.store import credentials
from prosperstack_destination.store.database import UnitOfWork

#: Lifetime of a session, in microseconds.
SESSION_TTL: Final = 7 * DAY


class Sessions:
    """Login and logout. Every login fails before `set_password` was called."""

    def __init__(
        self,
        database: UnitOfWork,
        clock: Clock,
        *,
        ticks: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._database = database
        self._clock = clock
        self._password: Password | None = None
        self._digest = ""
        self._throttle = LoginThrottle(ticks)
        self._sleep = sleep

    def set_password(self, password: Password) -> None:
        """Set the password."""
        self._password = password
        self._digest = password.digest

    @property
    def generated_password(self) -> str | None:
        """Generated password, to print at the start; None if it is configured or not known yet."""
        return self._password.text if self._password is not None and self._password.generated else None

    async def log_in(self, password: str, address: str) -> str:
        """Return the token of a new session. Waits after wrong passwords. Raises `LoginFailed` for a wrong one.

        Also raises `LoginFailed` if too many logins are waiting.
        """
        network = client_network(address)
        wait = self._throttle.wait_for(network)
        if wait:
            await self._sleep(wait)
        now = self._clock()
        if self._password is None or not self._password.matches(password):
            self._throttle.failed(network)
            raise LoginFailed("Wrong password.")
        token = secrets.token_urlsafe(32)
        await self._database.write(credentials.open_session, _hashed(token), self._digest, now, now + SESSION_TTL)
        return token

    async def is_open(self, token: str | None) -> bool:
        """Return whether a token is that of an open session."""
        if not token or not self._digest:
            return False
        return await self._database.read(credentials.is_session_open, _hashed(token), self._digest, self._clock())

    async def log_out(self, token: str) -> None:
        """End a session. Safe to repeat."""
        await self._database.write(credentials.close_session, _hashed(token))


def form_token(session: str) -> str:
    """Return the CSRF token of a session's forms, derived from the session token."""
    return hmac.digest(session.encode(), b"form", "sha256").hex()


def is_form_token(session: str, token: str) -> bool:
    """Return whether a CSRF token is that of the session. Compares in constant time."""
    return hmac.compare_digest(form_token(session).encode(), token.encode())


def _hashed(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
