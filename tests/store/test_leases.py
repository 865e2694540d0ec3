"""Leases in the database."""

from dataclasses import replace
from functools import partial

import pytest
from sqlalchemy import Connection

from prosperstack_destination.errors import LeaseLost
from prosperstack_destination.store import leases
from prosperstack_destination.store.database import Database
from prosperstack_destination.store.leases import Lease
from prosperstack_destination.store.statements import database_now
from support.clocks import NEW_YEAR
from support.transactions import begun

pytestmark = pytest.mark.anyio

A, B = Lease("a", "r1", 1, NEW_YEAR), Lease("b", "r2", 7, NEW_YEAR)


async def test_leases_are_stored(database: Database) -> None:
    """A stored lease can be read, also after it was given up, with its fence."""
    await database.write(leases.store, [A, B])
    await database.write(leases.store, [Lease("a", "r2", 2, 0)])

    assert await database.read(leases.load, []) == {"b": B}
    assert (await database.read(leases.load, ["a", "c"]))["a"].fence == 2


async def test_only_the_owner_holds_a_lease(database: Database) -> None:
    """Another owner, and another fence of the same owner, are refused."""
    await database.write(leases.store, [A])
    await database.write(leases.assert_held, "a", "r1", 1)

    for owner, fence in (("r2", 1), ("r1", 2), ("r1", 0)):
        with pytest.raises(LeaseLost):
            await database.write(leases.assert_held, "a", owner, fence)


async def test_replica_renews_and_releases_all_leases(database: Database) -> None:
    """All leases of a replica are renewed together, and free at once when it leaves."""
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


async def test_decision_does_not_wait_for_transactions(postgresql: Database) -> None:
    """A lease held by a transaction is renewed by its owner meanwhile, and taken by others after its end."""
    await postgresql.write(leases.store, [A, B])
    taken = Lease("a", "r2", 2, NEW_YEAR + 9)

    async with begun(postgresql, partial(leases.assert_held, account_id="a", owner="r1", fence=1)):
        await postgresql.write(leases.renew, "r1", NEW_YEAR + 1)
        stored = await postgresql.write(leases.store, [taken, replace(B, fence=8)])
    later = await postgresql.write(leases.store, [taken])

    assert (stored, later) == ({"b"}, {"a"})
    assert await postgresql.read(leases.load, []) == {"a": taken, "b": replace(B, fence=8)}


async def test_stalled_decision_does_not_block_replicas(postgresql: Database) -> None:
    """A replica that stalls in its decision loses it, and others do not wait for it beyond their limit."""

    def limits(connection: Connection) -> list[str]:
        leases.lock_decisions(connection)
        names = ("lock_timeout", "idle_in_transaction_session_timeout")
        return [str(connection.exec_driver_sql(f"SHOW {name}").scalar()) for name in names]

    assert await postgresql.write(limits) == ["1s", "1s"]


async def test_time_is_the_databases(database: Database) -> None:
    """Time is the database's, in microseconds, and advances."""
    times = [await database.write(database_now) for _ in range(3)]

    assert times == sorted(times)
    assert times[0] > NEW_YEAR
