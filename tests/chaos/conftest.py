"""Fixtures of the chaos suite. ``make chaos`` runs it at length, ``make chaos-short``, as in CI, in brief."""

import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.cluster import Sandbox, sandbox
from support.postgres import Server


@pytest.fixture
def dice() -> random.Random:
    """Random numbers; ``CHAOS_SEED`` repeats them."""
    seed = int(os.environ.get("CHAOS_SEED") or time.time_ns())
    print(f"CHAOS_SEED={seed}")  # noqa: T201 -- pytest shows it where a test fails
    return random.Random(seed)  # noqa: S311 -- for chance, not for secrets


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Sandbox]:
    with sandbox(tmp_path) as running:
        yield running


@pytest.fixture
def server() -> Iterator[Server]:
    """PostgreSQL of its own, which tests may stop, with durable commits."""
    server = Server.create()
    yield server
    server.remove()
