"""Leases in the database."""

from dataclasses import replace
from functools import partial

import pytest
from sqlalchemy import Connection

from prosperstack_destination.errors import LeaseLost
from prosperstack_destination.store import leases
from prosperstack_destination.store.database import Database
from prosperstack_destination.store.dialects import database_now
from prosperstack_destination.store.leases import Lease
from support.clocks import NEW_YEAR
from support.transactions import begun

pytestmark = pytest.mark.anyio

A, B = Lease("a", "r1", 1, NEW_YEAR), Lease("b", "r2", 7, NEW_YEAR)


async def test_leases_are_kept(database: Database) -> None:
    """What is stored is known; what was given up is known to whoever asks for it, with its fence."""
    await database.write(leases.store, [A, B])
    await database.write(leases.store, [Lease("a", "r2", 2, 0)])

    assert await database.read(leases.load, []) == {"b": B}
    assert (await database.read(leases.load, ["a", "c"]))["a"].fence == 2


async def test_only_the_owner_may_write(database: Database) -> None:
    """Another owner, and another fence of the same, are refused."""
    await database.write(leases.store, [A])
    await database.write(leases.assert_held, "a", "r1", 1)

    for owner, fence in (("r2", 1), ("r1", 2), ("r1", 0)):
        with pytest.raises(LeaseLost):
            await database.write(leases.assert_held, "a", owner, fence)


async def test_renewing_and_leaving(database: Database) -> None:
    """All leases of a replica are renewed at once, and free at once when it leaves."""
    await database.write(leases.store, [A, B])
    await database.write(leases.heartbeat, "r1", NEW_YEAR)
    await database.write(leases.heartbeat, "r1", NEW_YEAR + 1)
    await database.write(leases.renew, "r1", NEW_YEAR + 9)
    before = await database.read(leases.load, [])
    assert await database.read(leases.live_replicas) == {"r1": NEW_YEAR + 1}

    await database.write(leases.release_all, "r1")

    assert before == {"a": Lease("a", "r1", 1, NEW_YEAR + 9), "b": B}
    assert await database.read(leases.load, []) == {"b": B}
    assert await database.read(leases.live_replicas) == {}


async def test_a_look_waits_for_nobody(postgresql: Database) -> None:
    """What a transaction holds is renewed by its owner all the while, and taken by others when it has ended."""
    await postgresql.write(leases.store, [A, B])
    taken = Lease("a", "r2", 2, NEW_YEAR + 9)

    async with begun(postgresql, partial(leases.assert_held, account_id="a", owner="r1", fence=1)):
        await postgresql.write(leases.renew, "r1", NEW_YEAR + 1)
        stored = await postgresql.write(leases.store, [taken, replace(B, fence=8)])
    later = await postgresql.write(leases.store, [taken])

    assert (stored, later) == ({"b"}, {"a"})
    assert await postgresql.read(leases.load, []) == {"a": taken, "b": replace(B, fence=8)}


async def test_nobody_waits_long_for_a_look(postgresql: Database) -> None:
    """A replica that falls asleep in its look loses it, and others do not wait for it in their own for longer."""

    def limits(connection: Connection) -> list[str]:
        leases.lock_decisions(connection)
        names = ("lock_timeout", "idle_in_transaction_session_timeout")
        return [str(connection.exec_driver_sql(f"SHOW {name}").scalar()) for name in names]

    assert await postgresql.write(limits) == ["1s", "1s"]


async def test_the_databases_clock(database: Database) -> None:
    """Time is the database's, in microseconds, and goes on."""
    times = [await database.write(database_now) for _ in range(3)]

    assert times == sorted(times)
    assert times[0] > NEW_YEAR
