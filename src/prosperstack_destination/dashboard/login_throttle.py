"""Slows down guesses of the password, and keeps nobody out."""

from collections import deque
from collections.abc import Callable
from typing import Final

from prosperstack_destination.errors import LoginFailed
from prosperstack_destination.retry_after import retry_after_header

#: Wrong passwords within `WATCHED` (seconds) that cost no time: of one network, and of all together.
FREE: Final = 5
FREE_IN_ALL: Final = 50
WATCHED: Final = 60.0
#: After them passwords are checked in turns, so many seconds apart: those of the network, and those of all.
APART: Final = 1.0
APART_IN_ALL: Final = 0.2
#: The longest wait for a turn, in seconds. Whoever would wait longer is asked to come back then.
LONGEST: Final = 10.0
#: Wrong passwords that are remembered.
_REMEMBERED: Final = 1_000


class LoginThrottle:
    """Gives out turns for checking a password. ``ticks`` is a clock in seconds that is never set."""

    def __init__(self, ticks: Callable[[], float]) -> None:
        self._ticks = ticks
        #: When wrong passwords came, and from which network.
        self._wrong: deque[tuple[float, str]] = deque(maxlen=_REMEMBERED)
        #: When the next turn of a network that has to wait is, and that of all.
        self._turns: dict[str, float] = {}
        self._turn_of_all = 0.0

    def wait_for(self, network: str) -> float:
        """Take a turn; return how many seconds to wait for it. Raises `LoginFailed` where that is too long."""
        now = self._ticks()
        while self._wrong and now - self._wrong[0][0] > WATCHED:
            self._wrong.popleft()
        self._turns = {each: at for each, at in self._turns.items() if at > now}
        theirs = sum(each == network for _, each in self._wrong)
        turn, turn_of_all = now, now
        if theirs >= FREE:
            turn = max(self._turns.get(network, now), now) + APART
        if len(self._wrong) >= FREE_IN_ALL:
            turn_of_all = max(self._turn_of_all, now) + APART_IN_ALL
        wait = max(turn, turn_of_all) - now
        if wait > LONGEST:
            raise LoginFailed(
                f"Too many wrong passwords: try again in {retry_after_header(wait)} seconds.", retry_after=wait
            )
        self._turns[network], self._turn_of_all = turn, turn_of_all
        return wait

    def failed(self, network: str) -> None:
        """Note a wrong password."""
        self._wrong.append((self._ticks(), network))
