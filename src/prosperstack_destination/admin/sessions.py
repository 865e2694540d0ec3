"""Login sessions (an HttpOnly cookie, a CSRF token in each form), and a throttle of password guesses."""

import asyncio
import hashlib
import hmac
import secrets
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from prosperstack_destination.auth.operators import Password
from prosperstack_destination.clock import DAY, Clock
from prosperstack_destination.errors import LoginFailed
from prosperstack_destination.forwarded import client_network
from prosperstack_destination.http_client import retry_after_header
from prosperstack_destination.store import credentials
from prosperstack_destination.store.database import UnitOfWork

#: Wrong passwords within `WINDOW` (seconds) without a delay: of one network, and of all networks.
FREE: Final = 5
FREE_TOTAL: Final = 50
WINDOW: Final = 60.0
#: Seconds between two password checks beyond that: of one network, and of all networks.
INTERVAL: Final = 1.0
INTERVAL_TOTAL: Final = 0.2
#: Maximum wait for a check, in seconds. A longer wait refuses the login with a retry time.
MAX_WAIT: Final = 10.0
#: Maximum stored wrong passwords.
_MAX_STORED: Final = 1_000


class LoginThrottle:
    """Schedule of password checks. ``ticks`` is a monotonic clock in seconds."""

    def __init__(self, ticks: Callable[[], float]) -> None:
        self._ticks = ticks
        #: Time and network of wrong passwords.
        self._wrong: deque[tuple[float, str]] = deque(maxlen=_MAX_STORED)
        #: Time of the next check of each waiting network, and of all networks.
        self._turns: dict[str, float] = {}
        self._next_turn = 0.0

    def wait_for(self, network: str) -> float:
        """Reserve the next check, and return the seconds to wait for it. Raises `LoginFailed` above `MAX_WAIT`."""
        now = self._ticks()
        while self._wrong and now - self._wrong[0][0] > WINDOW:
            self._wrong.popleft()
        self._turns = {each: at for each, at in self._turns.items() if at > now}
        failures = sum(each == network for _, each in self._wrong)
        turn, global_turn = now, now
        if failures >= FREE:
            turn = max(self._turns.get(network, now), now) + INTERVAL
        if len(self._wrong) >= FREE_TOTAL:
            global_turn = max(self._next_turn, now) + INTERVAL_TOTAL
        wait = max(turn, global_turn) - now
        if wait > MAX_WAIT:
            raise LoginFailed(
                f"Too many wrong passwords. Try again in {retry_after_header(wait)} seconds.", retry_after=wait
            )
        self._turns[network], self._next_turn = turn, global_turn
        return wait

    def failed(self, network: str) -> None:
        """Record a wrong password."""
        self._wrong.append((self._ticks(), network))


#: Lifetime of a session, in microseconds.
SESSION_TTL: Final = 7 * DAY


class Sessions:
    """Login and logout. Every login fails before `use` sets the password."""

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

    def use(self, password: Password) -> None:
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
