"""Who is logged in: by a cookie that scripts cannot read, and a token in each form that other sites do not know."""

import asyncio
import hashlib
import hmac
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Final

from prosperstack_destination.auth.password import Password
from prosperstack_destination.clock import DAY, Clock
from prosperstack_destination.dashboard.login_throttle import LoginThrottle
from prosperstack_destination.errors import LoginFailed
from prosperstack_destination.forwarded import client_network
from prosperstack_destination.store import sessions
from prosperstack_destination.store.database import UnitOfWork

#: How long somebody stays logged in, in microseconds.
LASTS: Final = 7 * DAY


class Sessions:
    """Logs in and out. ``use`` tells it the password, before which nobody gets in."""

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
        self._mark = ""
        self._throttle = LoginThrottle(ticks)
        self._sleep = sleep

    def use(self, password: Password) -> None:
        """Take this password from now on."""
        self._password = password
        self._mark = password.digest

    @property
    def made_password(self) -> str | None:
        """The password, where it was made here: somebody has to be told. None: it is set, or not known yet."""
        return self._password.text if self._password is not None and self._password.generated else None

    async def log_in(self, shown: str, address: str) -> str:
        """The token of a new session; after wrong passwords it takes longer. Raises `LoginFailed` for a wrong one.

        It raises that as well where more logins wait for their turn than there is time for.
        """
        network = client_network(address)
        wait = self._throttle.wait_for(network)
        if wait:
            await self._sleep(wait)
        now = self._clock()
        if self._password is None or not self._password.matches(shown):
            self._throttle.failed(network)
            raise LoginFailed("That is not the password.")
        token = secrets.token_urlsafe(32)
        await self._database.write(sessions.add, _hashed(token), self._mark, now, now + LASTS)
        return token

    async def is_open(self, token: str | None) -> bool:
        """Whether somebody is logged in by this token."""
        if not token or not self._mark:
            return False
        return await self._database.read(sessions.is_open, _hashed(token), self._mark, self._clock())

    async def log_out(self, token: str) -> None:
        """End a session. Safe to repeat."""
        await self._database.write(sessions.remove, _hashed(token))


def form_token(session: str) -> str:
    """What a form of this session carries: who does not know the session's token cannot know it."""
    return hmac.digest(session.encode(), b"form", "sha256").hex()


def is_form_token(session: str, shown: str) -> bool:
    """Whether a form belongs to a session."""
    return hmac.compare_digest(form_token(session).encode(), shown.encode())


def _hashed(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
