"""Transactions that tests hold open."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from sqlalchemy import Connection
from sqlalchemy.util import await_

from prosperstack_destination.store.database import Database


@asynccontextmanager
async def begun(postgresql: Database, work: Callable[[Connection], object]) -> AsyncIterator["asyncio.Task[None]"]:
    """A transaction that did something and stays open, as that of a process that fell asleep."""
    done, end = asyncio.Event(), asyncio.Event()

    def stay(connection: Connection) -> None:
        work(connection)
        done.set()
        await_(end.wait())

    transaction = asyncio.create_task(postgresql.write(stay))
    await done.wait()
    yield transaction
    end.set()
    await transaction
