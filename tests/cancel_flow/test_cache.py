"""What is believed, and when it is read again."""

import asyncio

import pytest

from prosperstack_destination.cancel_flow.cache import RefreshingValue
from prosperstack_destination.clock import SECOND
from prosperstack_destination.errors import StoreUnavailable
from support.clocks import SetClock

pytestmark = pytest.mark.anyio

OLDEST = 2 * SECOND


class Source:
    """What is read: a number that is one more each time, once it may be read."""

    def __init__(self) -> None:
        self.number = 0
        self.free = asyncio.Event()
        self.free.set()
        self.fault: Exception | None = None

    async def read(self) -> int:
        """Read it."""
        self.number += 1
        number = self.number
        await self.free.wait()
        if self.fault is not None:
            raise self.fault
        return number


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def believed(source: Source, clock: SetClock) -> RefreshingValue[int]:
    return RefreshingValue("a number", source.read, clock)


async def test_value_is_refreshed_in_background(
    believed: RefreshingValue[int], source: Source, clock: SetClock
) -> None:
    """From half its age a value is refreshed once in the background, and replaced when the read ends."""
    assert await believed.get(OLDEST) == 1
    source.free.clear()
    clock.now += OLDEST // 2 - 1
    assert await believed.get(OLDEST) == 1
    assert not believed.is_refreshing
    clock.now += 1
    assert [await believed.get(OLDEST) for _ in range(3)] == [1, 1, 1]
    source.free.set()
    await believed.close()

    assert await believed.get(OLDEST) == 2
    assert source.number == 2


async def test_expired_value_is_read_again(believed: RefreshingValue[int], clock: SetClock) -> None:
    """An expired value is not used while the database answers, nor one read before the clock was set back."""
    assert await believed.get(OLDEST) == 1
    clock.now += OLDEST
    assert await believed.get(OLDEST) == 2
    clock.now -= 1
    assert await believed.get(OLDEST) == 3


@pytest.mark.parametrize("fault", [StoreUnavailable("away", retry_after=1), ZeroDivisionError()])
async def test_failed_read_keeps_old_value(
    believed: RefreshingValue[int], source: Source, clock: SetClock, fault: Exception
) -> None:
    """The old value stays in use if the read fails; without one, the error is raised."""
    source.fault = fault
    with pytest.raises(StoreUnavailable, match="does not answer"):
        await believed.get(OLDEST)
    source.fault = None
    assert await believed.get(OLDEST) == 2
    source.fault = fault
    clock.now += OLDEST
    assert await believed.get(OLDEST) == 2
