"""Checkpoints of SQLite's write-ahead log in slices, in the background.

A checkpoint of a large log stops the writer: 12,000 random pages take 0.1 s or more. Slices of a few hundred pages
do not block it, and leave the writer's own checkpoint, which lets the log start over, only the last slice.
"""

import asyncio
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Final

from sqlalchemy import Engine

from prosperstack_destination.background import cancel
from prosperstack_destination.store.statements import sqlite_driver

#: Size of the log from which it is checkpointed in slices, in bytes: a service with few calls never needs it.
FIRST_BYTES: Final = 4 * 1024 * 1024
#: Pages that a slice should have, and bounds of the pause between two slices, in seconds.
SLICE_PAGES: Final = 500
MIN_PAUSE_SECONDS: Final = 0.02
MAX_PAUSE_SECONDS: Final = 2.0


class CheckpointSlices:
    """Background checkpoints of one database. They start with the first large log.

    ``engine`` has a connection of its own, which never waits for a lock.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._log = Path(f"{engine.url.database}-wal")
        self._thread = ThreadPoolExecutor(1, "database-checkpoint")
        self._task: asyncio.Task[None] | None = None
        #: Pages of the present log that were checkpointed.
        self._done = 0

    def start_if_large(self) -> None:
        """Start, if the log is large. It is called after each write."""
        if self._task is None:
            with suppress(OSError):  # no log yet, or a database in memory
                if self._log.stat().st_size >= FIRST_BYTES:
                    self._task = asyncio.create_task(self._run(), name="checkpoint slices")

    async def close(self) -> None:
        """Finish the running slice, and stop."""
        if self._task is not None:
            await cancel([self._task])
        await asyncio.to_thread(self._thread.shutdown)
        self._engine.dispose()

    async def _run(self) -> None:
        pause = MIN_PAUSE_SECONDS
        while True:
            await asyncio.sleep(pause)
            pages = await asyncio.get_running_loop().run_in_executor(self._thread, self._checkpoint)
            pause = next_pause(pause, pages)

    def _checkpoint(self) -> int:
        """Checkpoint what the log has, without waiting; return the number of pages, 0 where it was not possible."""
        try:
            with self._engine.connect() as connection:
                driver = sqlite_driver(connection)
                if driver is None:
                    return 0
                done: int = driver.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()[2]
        except sqlite3.Error:  # full, damaged or locked: the writer meets it as well, and reports it
            return 0
        before, self._done = self._done, done
        return done - before if done >= before else done  # the log started over


def next_pause(pause: float, pages: int) -> float:
    """Return the pause after a slice of ``pages`` pages, in seconds: the next one should have `SLICE_PAGES`."""
    wanted = pause * SLICE_PAGES / max(pages, 1)
    return min(max(wanted, pause / 2, MIN_PAUSE_SECONDS), pause * 2, MAX_PAUSE_SECONDS)
