"""What takes long to find out, kept."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from prosperstack_destination.admin.cache import MAX_ENTRIES, TTL_FACTOR, SlowQueryCache
from prosperstack_destination.errors import StoreUnavailable
from support.clocks import SetClock

pytestmark = pytest.mark.anyio


class Slow:
    """Finds out how often it was asked; each time takes as long as a test has it."""

    def __init__(self, clock: SetClock) -> None:
        self.clock = clock
        self.asked = 0
        self.takes_seconds = 0.0
        self.may_end = asyncio.Event()
        self.may_end.set()
        self.error: Exception | None = None

    async def find(self, key: str) -> str:
        self.asked += 1
        number = self.asked
        await self.may_end.wait()
        self.clock.advance(self.takes_seconds)
        if self.error is not None:
            raise self.error
        return f"{key} {number}"


@pytest.fixture
def slow(clock: SetClock) -> Slow:
    return Slow(clock)


@pytest.fixture
async def kept(slow: Slow, clock: SetClock) -> AsyncIterator[SlowQueryCache[str]]:
    kept = SlowQueryCache(slow.find, clock)
    yield kept
    await kept.close()


async def test_what_is_quick_is_never_old(kept: SlowQueryCache[str]) -> None:
    """Who asks for what is found out at once is told how it is now, each time."""
    assert [await kept.latest("a") for _ in range(3)] == ["a 1", "a 2", "a 3"]


async def test_what_is_slow_is_kept(kept: SlowQueryCache[str], slow: Slow, clock: SetClock) -> None:
    """What took a second is good for so many seconds; by then it is found out anew, and what is kept stays."""
    slow.takes_seconds = 1.0
    assert [await kept.latest("a") for _ in range(3)] == ["a 1"] * 3
    clock.advance(TTL_FACTOR * 1.0)
    slow.may_end.clear()

    assert [await kept.latest("a") for _ in range(3)] == ["a 1"] * 3
    assert slow.asked == 2
    slow.may_end.set()
    assert await kept.latest("a") == "a 2"


async def test_nothing_was_found_out_yet(kept: SlowQueryCache[str], slow: Slow) -> None:
    """Who cannot do without waits for it; who can is told that there is nothing yet. It is found out once."""
    slow.may_end.clear()
    assert await kept.latest("a") is None
    waiting = asyncio.create_task(kept.get_or_wait("a"))
    assert await kept.latest("a") is None
    slow.may_end.set()

    assert await waiting == "a 1"


async def test_an_error(kept: SlowQueryCache[str], slow: Slow) -> None:
    """Whoever waits is told what went wrong; the next one has it found out anew."""
    slow.error = StoreUnavailable("no database", retry_after=1)
    with pytest.raises(StoreUnavailable):
        await kept.get_or_wait("a")
    slow.error = None

    assert await kept.get_or_wait("a") == "a 2"


async def test_not_everything_is_kept(kept: SlowQueryCache[str], slow: Slow) -> None:
    """Of more keys than are kept the one that was found out first has to be found out again."""
    slow.takes_seconds = 0.05
    for number in range(MAX_ENTRIES + 1):
        await kept.latest(str(number))

    assert await kept.latest(str(MAX_ENTRIES)) == f"{MAX_ENTRIES} {MAX_ENTRIES + 1}"
    assert await kept.latest("0") == f"0 {MAX_ENTRIES + 2}"


async def test_closing(kept: SlowQueryCache[str], slow: Slow) -> None:
    """What is under way when the service stops is broken off."""
    slow.may_end.clear()
    assert await kept.latest("a") is None
    await kept.close()
    slow.may_end.set()

    assert await kept.latest("a") == "a 2"
