"""When the reconciler starts an account's worker."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import Connection

from prosperstack_destination.clock import SECOND
from prosperstack_destination.errors import ProsperStackAuthError
from prosperstack_destination.prosperstack.client import ProsperStackClient
from prosperstack_destination.reconcile.reconciler import Connect, Reconciler
from prosperstack_destination.store import accounts
from prosperstack_destination.store.accounts import AccountStatus
from prosperstack_destination.store.database import Database
from support.accounts import open_account
from support.clocks import VIRTUAL_TIME, LoopClock

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return VIRTUAL_TIME


class Watched:
    """A database that counts reads of an account."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.looks: list[int] = []
        self.write = database.write

    async def read(self, work: Callable[..., Any], *args: Any) -> Any:
        """Read as `Database.read` does."""
        if work is accounts.get:
            self.looks.append(LoopClock()())
        return await self._database.read(work, *args)


def no_client(*_: object) -> ProsperStackClient:
    raise AssertionError("an account that is left alone is not worked at")


@asynccontextmanager
async def reconciling(database: Any, connect: Connect = no_client) -> AsyncIterator[Reconciler]:
    clock = LoopClock()
    reconciler = Reconciler(
        database, connect, replica="r", reserve=0.1, bulk_share=0.5, clock=clock, ticks=clock.ticks
    )
    reconciler.start()
    yield reconciler
    await reconciler.stop()


async def test_calls_for_an_account_that_backs_off_cost_nothing(sqlite: Database) -> None:
    """While ProsperStack is unavailable an account is read now and then, not for each call."""
    until = LoopClock()() + 3_600 * SECOND

    def begin(connection: Connection) -> None:
        open_account(connection)
        accounts.set_status(connection, "acct_1", AccountStatus.RETRYING, reason="away", until=until)

    await sqlite.write(begin)
    watched = Watched(sqlite)
    async with reconciling(watched) as reconciler:
        for _ in range(1_000):
            reconciler.wake(["acct_1"])
            await asyncio.sleep(0.01)

    assert 10 <= len(watched.looks) <= 50
    assert max(after - before for before, after in pairwise(watched.looks)) <= SECOND


async def test_account_works_again_within_half_a_second(sqlite: Database) -> None:
    """Once an account need not back off any more, a call starts its worker within half a second."""
    worked: list[int] = []
    until = LoopClock()() + 3_600 * SECOND

    def begin(connection: Connection) -> None:
        open_account(connection)
        accounts.set_status(connection, "acct_1", AccountStatus.RETRYING, reason="away", until=until)

    def note(*_: object) -> ProsperStackClient:
        worked.append(LoopClock()())
        raise ProsperStackAuthError("no", status_code=401)

    await sqlite.write(begin)
    async with reconciling(sqlite, note) as reconciler:
        await asyncio.sleep(2)
        reconciler.wake(["acct_1"])  # it is found backing off
        await asyncio.sleep(0.01)
        assert worked == []
        await sqlite.write(accounts.set_status, "acct_1", AccountStatus.ACTIVE)
        mended = LoopClock()()
        while not worked:
            reconciler.wake(["acct_1"])
            await asyncio.sleep(0.01)

    assert worked[0] - mended <= SECOND // 2
