"""Throttle of password guesses: delays between password checks after wrong passwords."""

from collections import deque
from collections.abc import Callable
from typing import Final

from prosperstack_destination.errors import LoginFailed
from prosperstack_destination.http_client import retry_after_header

#: Wrong passwords within `WINDOW` after which password checks are delayed: from one network, and from all networks.
MAX_UNDELAYED: Final = 5
MAX_UNDELAYED_TOTAL: Final = 50
#: Time for which a wrong password counts, in seconds.
WINDOW: Final = 60.0
#: Seconds between two delayed password checks: from one network, and from all networks.
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
        if failures >= MAX_UNDELAYED:
            turn = max(self._turns.get(network, now), now) + INTERVAL
        if len(self._wrong) >= MAX_UNDELAYED_TOTAL:
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
