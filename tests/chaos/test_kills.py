"""Tests of processes that are killed and frozen at random moments under load: no accepted call is lost."""

import os
import random
import signal
import time
from pathlib import Path

import pytest

from support.cluster import Load, Sandbox, how_often, replicas, until
from support.postgres import Server

KILLS = how_often(short=2, full=50)
FREEZES = how_often(short=1, full=5)
#: Time of a freeze, longer than a lease, in seconds.
FROZEN_SECONDS = 8.0


def load_on(urls: list[str], api: Sandbox, dice: random.Random) -> Load:
    return Load(urls, sorted(set(api.values())), dice)


def test_kills_on_sqlite(tmp_path: Path, api: Sandbox, dice: random.Random) -> None:
    """After repeated kills of a process on SQLite, every subscriber has the latest accepted values."""
    with replicas(tmp_path, api, "all") as [process]:
        load = load_on([process.url], api, dice)
        with load.running():
            for _ in range(KILLS):
                load.await_accepted(5)
                time.sleep(dice.random() * 0.3)
                process.kill()
                process.start()
                process.await_ready()
            load.await_accepted(50)
        load.settled(api)
    assert api.repeated() <= KILLS


def test_kills_of_replicas(tmp_path: Path, api: Sandbox, server: Server, dice: random.Random) -> None:
    """Kills of any of three replicas on PostgreSQL lose no call, and repeat few updates."""
    with replicas(tmp_path, api, "all", "all", "all", DATABASE_URL=server.url) as processes:
        load = load_on([each.url for each in processes], api, dice)
        with load.running():
            for _ in range(KILLS):
                load.await_accepted(5)
                time.sleep(dice.random() * 0.3)
                victim = dice.choice(processes)
                victim.kill()
                victim.start()
                victim.await_ready()
            load.await_accepted(50)
        load.settled(api)
    assert api.repeated() <= KILLS


def test_frozen_replica_is_replaced(tmp_path: Path, api: Sandbox, server: Server, dice: random.Random) -> None:
    """A replica that is frozen past its lease is replaced within ten seconds, and does no harm afterwards."""
    with replicas(tmp_path, api, "all", "all", "all", DATABASE_URL=server.url) as processes:
        load = load_on([each.url for each in processes], api, dice)
        load.patience_seconds = 2.0  # a call is often under way to the frozen replica
        for _ in range(FREEZES):
            with load.running():
                load.await_accepted(20)
                owner = max(processes, key=lambda each: each.log.count('"delivered"'))
                others = [each.url for each in processes if each is not owner]
                owner.send(signal.SIGSTOP)
                load.urls = others
                before = len(api.updates())
                begun = time.monotonic()
                until(
                    lambda before=before: len(api.updates()) > before + 1,  # type: ignore[misc]
                    lambda: f"no takeover; answers: {load.statuses}",
                    15,
                )
                assert time.monotonic() - begun < 10
                time.sleep(max(FROZEN_SECONDS - (time.monotonic() - begun), 0))
                owner.send(signal.SIGCONT)
                load.urls = [each.url for each in processes]
                load.await_accepted(50)
            load.settled(api)
    assert api.repeated() <= FREEZES * 2


@pytest.mark.skipif(os.environ.get("CHAOS") != "full", reason="the short form of the suite has a kill above")
def test_killed_reconciler_is_replaced(tmp_path: Path, api: Sandbox, server: Server, dice: random.Random) -> None:
    """If the reconciler of the account is killed, another one takes over within ten seconds."""
    with replicas(tmp_path, api, "receive", "reconcile", "reconcile", DATABASE_URL=server.url) as processes:
        receiver, *reconcilers = processes
        load = load_on([receiver.url], api, dice)
        with load.running():
            load.await_accepted(50)
            until(lambda: len(api.updates()) > 5, "nothing is delivered")
            max(reconcilers, key=lambda each: each.log.count('"delivered"')).kill()
            before, begun = len(api.updates()), time.monotonic()
            until(lambda: len(api.updates()) > before + 1, "no takeover", 15)
            assert time.monotonic() - begun < 10
        load.settled(api)
