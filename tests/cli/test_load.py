"""Tests of `load`: repeatable calls at a rate, and honest figures of the answers."""

import asyncio
import itertools
import json
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest

from prosperstack_destination.cli.load import Kind, Load, Measurement, calls, parse_mix, run, send
from prosperstack_destination.errors import InvalidInput
from prosperstack_destination.sandbox.seed import account_seed, emails_of, seed_account
from support.cluster import sandbox
from support.processes import command, environment, free_port, started

MIX = {Kind.LIVE: 70.0, Kind.AUDIENCE: 20.0, Kind.REPEAT: 10.0}


def taken(load: Load, count: int) -> list[dict[str, Any]]:
    """Return the first calls of a load, without their times."""
    return [{**each, "timestamp": None} for each in itertools.islice(calls(load), count)]


def test_same_seed_sends_the_same_calls() -> None:
    """A load can be repeated by its seed; another seed sends other calls about other people."""
    first, again = (taken(Load(50, 10, 1, MIX, 7), 200) for _ in range(2))

    assert first == again
    assert first != taken(Load(50, 10, 1, MIX, 8), 200)


def test_people_are_subscribers_of_the_sandbox() -> None:
    """The emails are those of a sandbox with the same seed, however many subscribers it has."""
    emails = {each["traits"]["email"] for each in taken(Load(50, 10, 1, MIX, 7), 500)}
    subscribers = [each.fields["email"] for each in seed_account(300, account_seed(7, 0)).subscribers]

    assert emails <= set(emails_of(50, 7))
    assert emails_of(50, 7) == subscribers[:50]
    assert len(emails) > 45


def test_mix_decides_the_kinds() -> None:
    """Kinds of calls come in the shares of the mix; a repeated call is the one before, with its id."""
    sent = taken(Load(1000, 10, 1, MIX, 1), 5_000)
    audience = sum("context" in each for each in sent)
    repeated = sum(before == after for before, after in itertools.pairwise(sent))

    assert repeated == pytest.approx(500, rel=0.2)
    assert audience == pytest.approx(5_000 * 0.2 / 0.9, rel=0.15)
    assert len({each["messageId"] for each in sent}) == 5_000 - repeated


@pytest.mark.parametrize(
    ("text", "mix"),
    [
        ("live=1", {Kind.LIVE: 1.0}),
        ("live=80, audience=15,repeat=5", {Kind.LIVE: 80.0, Kind.AUDIENCE: 15.0, Kind.REPEAT: 5.0}),
    ],
)
def test_mix_is_read(text: str, mix: dict[Kind, float]) -> None:
    """A mix names kinds with their weights."""
    assert parse_mix(text) == mix


@pytest.mark.parametrize(
    "text", ["", "live", "live=x", "delete=1", "live=-1,repeat=2", "live=0", "live=nan", "live=inf"]
)
def test_wrong_mix_is_refused(text: str) -> None:
    """Another kind, or a weight that is no number from 0 on, is named."""
    with pytest.raises(InvalidInput, match=r"mix|weights"):
        parse_mix(text)


def test_percentiles_are_those_of_all_answers() -> None:
    """Percentiles of two measurements together are those of all their answers."""
    first, second = Measurement(), Measurement()
    for number in range(1, 100):
        (first if number % 2 else second).add(202, number / 1000)
    second.add(503, 5.0)
    first.merge(second)

    assert (first.percentile_ms(0.5), first.percentile_ms(0.99), first.percentile_ms(1)) == (50.0, 99.0, 5000.0)
    assert first.facts(10.0)["statuses"] == {"202": 99, "503": 1}
    assert first.facts(10.0)["per_second"] == 10.0
    assert Measurement().facts(0.0)["p99_ms"] == 0.0


def test_calls_come_at_their_rate_and_waits_count() -> None:
    """Calls are sent when they are due; one that waits for a slow service has its wait in its latency."""
    begun: list[float] = []

    async def answer(request: httpx.Request) -> httpx.Response:
        begun.append(time.monotonic())
        assert request.headers["authorization"].startswith("Basic ")
        await asyncio.sleep(0.2 if len(begun) == 1 else 0)
        return httpx.Response(202)

    spans: list[dict[str, Any]] = []
    measured, seconds = asyncio.run(
        send(
            Load(10, 50, 1.0, MIX, 1), "http://127.0.0.1/identify", "key_test_x", 0.25,
            lambda _, facts: spans.append(facts), httpx.MockTransport(answer),
        )
    )  # fmt: skip

    assert measured.statuses == Counter({202: 50})
    assert seconds >= begun[-1] - begun[0] > 0.9
    assert measured.percentile_ms(1) >= 200
    assert len(spans) >= 3
    assert sum(each["calls"] for each in spans) <= 50


def test_refused_connections_are_counted() -> None:
    """A service that is away is no status, and the load goes on."""

    def refuse(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("away")

    measured, _ = asyncio.run(
        send(Load(10, 100, 0.1, MIX, 1), "http://x/", "k", 9, lambda *_: None, httpx.MockTransport(refuse))
    )

    assert measured.statuses == Counter({0: 10})


def test_live_key_needs_a_confirmation() -> None:
    """A key that may lead to subscribers of live mode is refused without --yes."""
    for key in ("key_live", "segment-key"):
        with pytest.raises(InvalidInput, match="test mode"):
            run(Load(1, 1, 0.1, MIX, 1), to="http://127.0.0.1:9/", key=key, every=1, confirmed=False, as_json=True)


@pytest.mark.whole
def test_load_on_a_service_with_a_sandbox(tmp_path: Path) -> None:
    """The service accepts the load, and the command prints its figures."""
    port = free_port()
    with sandbox(tmp_path, 100) as api:
        settings = {"PROSPERSTACK_BASE_URL": api.url, "PROSPERSTACK_API_KEY": "key_test_sandbox"}
        serve = ["serve", "--port", str(port)]
        with started(serve, f"http://127.0.0.1:{port}/readyz", tmp_path, tmp_path / "serve.log", **settings):
            arguments = ["load", "--to", f"http://127.0.0.1:{port}/identify", "--people", "100", "--rate", "40"]
            done = subprocess.run(  # noqa: S603 -- our own command
                command(*arguments, "--seconds", "3", "--every", "1", "--json"),
                env=environment(),
                capture_output=True,
                text=True,
                check=False,
            )
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)

    assert facts["calls"] == 120
    assert facts["statuses"] == {"202": 120}
    assert len(facts["spans"]) >= 2
