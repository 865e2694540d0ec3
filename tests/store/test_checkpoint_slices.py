"""Checkpoints in slices: a large log reaches the file without the writer's own checkpoint."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection

from prosperstack_destination.store.checkpoint_slices import (
    FIRST_BYTES,
    MAX_PAUSE_SECONDS,
    MIN_PAUSE_SECONDS,
    SLICE_PAGES,
    next_pause,
)
from prosperstack_destination.store.database import Database

pytestmark = pytest.mark.anyio


def fill(connection: Connection, size: int) -> None:
    connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS filling (text BLOB)")
    connection.exec_driver_sql("INSERT INTO filling VALUES (zeroblob(?))", (size,))


async def test_large_log_reaches_the_file_while_nothing_is_written(tmp_path: Path) -> None:
    """A log that is smaller than the writer's checkpoint, but large, is copied to the file in the background."""
    path = tmp_path / "d.db"
    database = Database(f"sqlite:///{path}")
    await database.open()
    await database.write(fill, FIRST_BYTES // 4)
    small = path.stat().st_size
    for _ in range(4):
        await database.write(fill, FIRST_BYTES // 4)
    async with asyncio.timeout(10):
        while path.stat().st_size <= FIRST_BYTES:  # noqa: ASYNC110 -- the file tells of no change
            await asyncio.sleep(0.01)
    after = await database.read(
        lambda connection: connection.exec_driver_sql("SELECT count(*) FROM filling").scalar()
    )
    await database.close()

    assert small < FIRST_BYTES // 4
    assert after == 5


@given(st.floats(MIN_PAUSE_SECONDS, MAX_PAUSE_SECONDS), st.integers(0, 100_000))
def test_pause_is_bounded_and_changes_by_half_or_double(pause: float, pages: int) -> None:
    """A pause stays within its bounds, and is at most halved or doubled."""
    following = next_pause(pause, pages)

    assert MIN_PAUSE_SECONDS <= following <= MAX_PAUSE_SECONDS
    assert pause / 2 <= following <= pause * 2 or following == MIN_PAUSE_SECONDS


@given(st.floats(SLICE_PAGES / MAX_PAUSE_SECONDS * 2, SLICE_PAGES / MIN_PAUSE_SECONDS))
def test_slices_have_the_wanted_size_at_a_steady_rate(pages_per_second: float) -> None:
    """At any steady rate of writes the pause settles where a slice has the wanted number of pages."""
    pause = MIN_PAUSE_SECONDS
    for _ in range(30):
        pause = next_pause(pause, round(pages_per_second * pause))

    assert pages_per_second * pause == pytest.approx(SLICE_PAGES, rel=0.1)
