"""Benchmark of checkpoints: calls about new and about stored people among a million, on SQLite, by variant.

The variants run one after the other on one file, in turns, so that a neighbour's load meets all of them. It is
meant for a machine without other work: the longest transactions are waits for the disk.
"""

import argparse
import asyncio
import hashlib
import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import JsonValue
from rich.console import Console
from rich.table import Table

from prosperstack_destination.store import checkpoint_slices, json_codec, sqlite
from prosperstack_destination.store.database import Database
from prosperstack_destination.store.merge_calls import ingest_calls
from prosperstack_destination.store.models import Identify
from support.accounts import open_account
from support.intake import ACCOUNT

#: Calls of a transaction.
BATCH: Final = 40
NEVER: Final = 2**60
_TRAITS: Final = '{"1": {"plan": "premium", "logins": 5, "name": "Jane Doe", "title": "Vice President"}}'


@dataclass(frozen=True, slots=True)
class Variant:
    """Pages at which the writer checkpoints, and the pages of a slice; None: no slices."""

    pages: int
    slice_pages: int | None = None

    def __str__(self) -> str:
        slices = "" if self.slice_pages is None else f", slices of {self.slice_pages:,}"
        return f"{self.pages:,} pages{slices}"


VARIANTS: Final = (Variant(16_384), Variant(16_384, 500), Variant(16_384, 2_000), Variant(4_096), Variant(1_000))


@dataclass(frozen=True, slots=True)
class Measured:
    """Measurements of one run: calls a second, times of transactions in ms, and what a call costs."""

    per_second: float
    p99_ms: float
    longest_ms: float
    cpu_us: float
    written_kb: float


def main() -> None:
    """Measure, and print a table of medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profiles", type=int, default=1_000_000, help="stored profiles")
    parser.add_argument("--calls", type=int, default=40_000, help="of each run")
    parser.add_argument("--runs", type=int, default=3, help="of which the medians count")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_measure(Path(folder) / "d.db", options.profiles, options.calls, options.runs))


async def _measure(path: Path, profiles: int, calls: int, runs: int) -> None:
    await _prepare(path, profiles)
    found: dict[tuple[str, Variant], list[Measured]] = {}
    for run in range(runs):
        for kind in ("new people", "stored people"):
            for variant in VARIANTS:
                people = _new(run, variant) if kind == "new people" else _stored(profiles)
                found.setdefault((kind, variant), []).append(await _run(path, variant, people, calls))
    table = Table(
        *("calls about", "checkpoint", "calls/s", "p99 ms", "longest ms", "CPU µs/call", "KB/call"), box=None
    )
    for (kind, variant), measured in found.items():
        table.add_row(
            kind,
            str(variant),
            *(
                f"{statistics.median(getattr(each, name) for each in measured):,.0f}"
                for name in ("per_second", "p99_ms", "longest_ms", "cpu_us", "written_kb")
            ),
        )
    Console(width=120, highlight=False).print(table)


async def _run(path: Path, variant: Variant, people: Iterator[str], calls: int) -> Measured:
    sqlite.CHECKPOINT_PAGES = variant.pages  # type: ignore[misc]
    checkpoint_slices.SLICE_PAGES = variant.slice_pages or 1  # type: ignore[misc]
    checkpoint_slices.FIRST_BYTES = NEVER if variant.slice_pages is None else 4 * 1024**2  # type: ignore[misc]
    database = Database(f"sqlite:///{path}")
    await database.open()
    milliseconds = []
    written, cpu, begun = _written(), time.process_time(), time.monotonic()
    for _ in range(calls // BATCH):
        batch = [_call(next(people)) for _ in range(BATCH)]
        at = time.monotonic()
        await database.write(ingest_calls, batch, str, exclusive=True)
        milliseconds.append((time.monotonic() - at) * 1000)
    took, cpu = time.monotonic() - begun, time.process_time() - cpu
    await database.close()
    milliseconds.sort()
    p99 = milliseconds[int(len(milliseconds) * 0.99)]
    return Measured(calls / took, p99, milliseconds[-1], cpu / calls * 1e6, (_written() - written) / calls / 1000)


def _call(email: str) -> Identify:
    now = time.time_ns() // 1000
    traits: dict[str, JsonValue] = {"plan": "premium", "logins": now, "name": "Jane Doe", "Preferred name": "Jane"}
    return Identify(ACCOUNT, email, email, traits, now, now, user_id=f"user-{email[:12]}")


def _new(run: int, variant: Variant) -> Iterator[str]:
    return (f"{_name(f'{run} {variant} {number}')}@new.example.com" for number in range(NEVER))


def _stored(profiles: int) -> Iterator[str]:
    chance = random.Random(1)
    return (f"{_name(str(chance.randrange(profiles)))}@stored.example.com" for _ in range(NEVER))


def _name(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


async def _prepare(path: Path, profiles: int) -> None:
    """Store the profiles without a log: a million in seconds."""
    database = Database(f"sqlite:///{path}")
    await database.open()
    await database.write(open_account)
    await database.close()
    emails = [f"{_name(str(number))}@stored.example.com" for number in range(profiles)]
    with closing(sqlite3.connect(path)) as driver, driver:
        driver.execute("PRAGMA synchronous = OFF")
        driver.execute("PRAGMA cache_size = -1000000")
        driver.executemany(
            "INSERT INTO profiles (account_id, email, address, user_id, ids, traits, version, status, changed_at, "
            "lane, attempts, touched_at) VALUES (?, ?, ?, ?, ?, ?, 1, 'in_sync', 1, 1, 0, 1)",
            (
                (ACCOUNT, each, each, user, json_codec.dump({"user": {user: 1}}), _TRAITS)
                for each in emails
                if (user := f"user-{each[:12]}")
            ),
        )
        driver.executemany(
            "INSERT INTO identities VALUES (?, 'user', ?, ?, '[]')",
            sorted((ACCOUNT, f"user-{each[:12]}", each) for each in emails),
        )


def _written() -> int:
    """Return the bytes that this process had written to the disk."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("write_bytes"))


if __name__ == "__main__":
    main()
