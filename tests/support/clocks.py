"""Time that tests own."""

#: 2026-01-01T00:00:00Z, in microseconds: when tests begin.
NEW_YEAR = 1_767_225_600_000_000


class SetClock:
    """A clock, in microseconds, that moves when it is told to."""

    def __init__(self, now: int = NEW_YEAR) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now

    def advance(self, seconds: float) -> None:
        """Let so many seconds go by."""
        self.now += int(seconds * 1_000_000)

    async def sleep(self, seconds: float) -> None:
        """Let so many seconds go by at once: for what takes a sleep."""
        self.advance(seconds)
