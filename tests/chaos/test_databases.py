"""Tests of database failures under load: calls are answered 503, and the service recovers."""

import asyncio
import os
import random
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import asyncpg
import httpx
import pytest
from sqlalchemy import make_url

from support.cluster import Load, Sandbox, how_often, replicas
from support.postgres import Server, execute

#: Time that a lock is held, and time that a server is stopped, in seconds.
LOCKED_SECONDS = float(how_often(short=6, full=60))
AWAY_SECONDS = 2.0
TIMES = how_often(short=1, full=5)


def test_postgresql_failure_loses_nothing(
    tmp_path: Path, api: Sandbox, server: Server, dice: random.Random
) -> None:
    """Cut connections, a long lock and a restart of PostgreSQL lose no accepted call."""
    with replicas(tmp_path, api, "all", "receive", DATABASE_URL=server.url) as processes:
        load = Load([each.url for each in processes], sorted(api.values()), dice)
        with load.running():
            for _ in range(TIMES):
                load.await_accepted(20)
                asyncio.run(cut_connections(server.url))
                load.await_accepted(20)
                asyncio.run(hold_lock(server.url))
                load.await_accepted(20)
                server.stop()
                time.sleep(AWAY_SECONDS)
                server.start()
                load.await_accepted(20)
            for each in processes:
                each.await_ready()
        load.settled(api)
    assert load.statuses.keys() <= {202, 503}, load.statuses
    assert load.statuses[503] > 0


async def cut_connections(url: str) -> None:
    """End all connections except this one."""
    others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
    await execute(url, f"{others} AND backend_type = 'client backend'")


async def hold_lock(url: str) -> None:
    """Lock the table of profiles for `LOCKED_SECONDS`."""
    connection = await asyncpg.connect(make_url(url).set(drivername="postgresql").render_as_string(False))
    async with connection.transaction():
        await connection.execute("LOCK TABLE profiles IN ACCESS EXCLUSIVE MODE")
        await asyncio.sleep(LOCKED_SECONDS)
    await connection.close()


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """Folder on a disk of 8 MB, which tests fill and mount read-only."""
    folder = Path(tempfile.mkdtemp(prefix="disk-"))
    if os.geteuid() != 0 or not mounted("-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)):
        folder.rmdir()
        pytest.skip("a small disk cannot be mounted here: that takes root, and a container that lets one")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)  # noqa: S603, S607 -- a tool of the system
    folder.rmdir()


def mounted(*arguments: str) -> bool:
    command = ["mount", *arguments]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0  # noqa: S603 -- see above


def test_full_disk_loses_no_call(tmp_path: Path, small_disk: Path, api: Sandbox, dice: random.Random) -> None:
    """On a full or read-only disk, calls and `/readyz` are answered 503; afterwards the service recovers."""
    with replicas(tmp_path, api, "all", DATA_DIR=str(small_disk)) as [process]:
        load = Load([process.url], sorted(api.values()), dice)
        with load.running():
            load.await_accepted(20)
            filler = small_disk / "filler"
            fill(filler)
            await_status(load, 503)
            assert not is_ready(process.url)
            filler.unlink()
            load.await_accepted(20)
            if mounted("-o", "remount,ro", str(small_disk)):  # it fails during a write
                await_status(load, 503)
                assert not is_ready(process.url)
                assert mounted("-o", "remount,rw", str(small_disk))
            load.await_accepted(20)
            process.await_ready()
        load.settled(api)
    assert load.statuses.keys() <= {202, 503}, load.statuses


def is_ready(url: str) -> bool:
    """Return True if a process reports that it is ready."""
    return httpx.get(f"{url}/readyz", trust_env=False, timeout=10).is_success


def fill(path: Path) -> None:
    """Write until the disk is full."""
    with closing(path.open("wb", buffering=0)) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            return


def await_status(load: Load, status: int) -> None:
    """Wait for three more answers with a status."""
    target = load.statuses.get(status, 0) + 3
    deadline = time.monotonic() + 60
    while load.statuses.get(status, 0) < target:
        assert time.monotonic() < deadline, load.statuses
        time.sleep(0.05)
