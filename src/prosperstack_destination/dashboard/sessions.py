"""Who is logged in: by a cookie that scripts cannot read, and a token in each form that other sites do not know."""

import hashlib
import hmac
import secrets
from collections import deque
from typing import Final

from prosperstack_destination.accounts.password import Password
from prosperstack_destination.clock import DAY, MINUTE, SECOND, Clock
from prosperstack_destination.errors import LoginRefused
from prosperstack_destination.retry_after import retry_after_header
from prosperstack_destination.state import sessions
from prosperstack_destination.state.database import Store

#: How long somebody stays logged in, in microseconds.
LASTS: Final = 7 * DAY
#: Wrong passwords within `WATCHED` (microseconds) after which none is looked at: from an address, and from all.
MOST_WRONG: Final = 5
MOST_WRONG_IN_ALL: Final = 50
WATCHED: Final = 1 * MINUTE


class Sessions:
    """Logs in and out. ``use`` tells it the password, before which nobody gets in."""

    def __init__(self, database: Store, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._password: Password | None = None
        self._mark = ""
        #: When wrong passwords came, and from where.
        self._wrong: deque[tuple[int, str]] = deque(maxlen=MOST_WRONG_IN_ALL)

    def use(self, password: Password) -> None:
        """Take this password from now on."""
        self._password = password
        self._mark = password.mark

    @property
    def made_password(self) -> str | None:
        """The password, where it was made here: somebody has to be told. None: it is set, or not known yet."""
        return self._password.text if self._password is not None and self._password.made else None

    async def log_in(self, shown: str, address: str) -> str:
        """The token of a new session. Raises `LoginRefused` for a wrong password, or after too many of them."""
        now = self._clock()
        self._refuse_guessing(address, now)
        if self._password is None or not self._password.is_(shown):
            self._wrong.append((now, address))
            raise LoginRefused("That is not the password.")
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

    def _refuse_guessing(self, address: str, now: int) -> None:
        while self._wrong and now - self._wrong[0][0] > WATCHED:
            self._wrong.popleft()
        theirs = [at for at, whence in self._wrong if whence == address]
        if len(theirs) < MOST_WRONG and len(self._wrong) < MOST_WRONG_IN_ALL:
            return
        first = theirs[0] if len(theirs) >= MOST_WRONG else self._wrong[0][0]
        wait = max((first + WATCHED - now) / SECOND, 1.0)
        raise LoginRefused(
            f"Too many wrong passwords: try again in {retry_after_header(wait)} seconds.", retry_after=wait
        )


def form_token(session: str) -> str:
    """What a form of this session carries: who does not know the session's token cannot know it."""
    return hmac.digest(session.encode(), b"form", "sha256").hex()


def is_form_token(session: str, shown: str) -> bool:
    """Whether a form belongs to a session."""
    return hmac.compare_digest(form_token(session).encode(), shown.encode())


def _hashed(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
