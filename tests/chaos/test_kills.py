"""Processes are killed and frozen at random moments under load: nothing that was accepted is lost."""

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
#: Longer than a lease, in seconds.
FROZEN_SECONDS = 8.0


def load_on(urls: list[str], api: Sandbox, dice: random.Random) -> Load:
    return Load(urls, sorted(set(api.values())), dice)


def test_kills_on_sqlite(tmp_path: Path, api: Sandbox, dice: random.Random) -> None:
    """A process on SQLite is killed and started again and again; everybody ends up with what was accepted last."""
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
    """Of three replicas on PostgreSQL any is killed at any moment; nothing is lost, and little is repeated."""
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


def test_freezes_past_the_lease(tmp_path: Path, api: Sandbox, server: Server, dice: random.Random) -> None:
    """A replica that sleeps past its lease is replaced within ten seconds, and does no harm when it wakes."""
    with replicas(tmp_path, api, "all", "all", "all", DATABASE_URL=server.url) as processes:
        load = load_on([each.url for each in processes], api, dice)
        load.patience_seconds = 2.0  # one call is often on its way to whoever is frozen
        for _ in range(FREEZES):
            with load.running():
                load.await_accepted(20)
                spender = max(processes, key=lambda each: each.log.count('"delivered"'))
                others = [each.url for each in processes if each is not spender]
                spender.send(signal.SIGSTOP)
                load.urls = others
                before = len(api.updates())
                begun = time.monotonic()
                until(
                    lambda before=before: len(api.updates()) > before + 1,  # type: ignore[misc]
                    lambda: f"nobody took over; answers: {load.statuses}",
                    15,
                )
                assert time.monotonic() - begun < 10
                time.sleep(max(FROZEN_SECONDS - (time.monotonic() - begun), 0))
                spender.send(signal.SIGCONT)
                load.urls = [each.url for each in processes]
                load.await_accepted(50)
            load.settled(api)
    assert api.repeated() <= FREEZES * 2


@pytest.mark.skipif(os.environ.get("CHAOS") != "full", reason="a death is in the short form above as well")
def test_a_death_is_noticed_in_time(tmp_path: Path, api: Sandbox, server: Server, dice: random.Random) -> None:
    """When the reconciler that has the account is killed, another one goes on within ten seconds."""
    with replicas(tmp_path, api, "receive", "reconcile", "reconcile", DATABASE_URL=server.url) as processes:
        receiver, *reconcilers = processes
        load = load_on([receiver.url], api, dice)
        with load.running():
            load.await_accepted(50)
            until(lambda: len(api.updates()) > 5, "nothing is delivered")
            max(reconcilers, key=lambda each: each.log.count('"delivered"')).kill()
            before, begun = len(api.updates()), time.monotonic()
            until(lambda: len(api.updates()) > before + 1, "nobody took over", 15)
            assert time.monotonic() - begun < 10
        load.settled(api)
