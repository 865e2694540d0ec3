"""Benchmark of the planner: time and memory of a request, which must not grow with the number of profiles."""

import argparse
import asyncio
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from sqlalchemy import Connection, insert

from prosperstack_destination.prosperstack.budget import Budget, RateLimit
from prosperstack_destination.reconcile.planner import PlannerInput, SpendHistory, plan
from prosperstack_destination.reconcile.queue_view import COUNT_TTL
from prosperstack_destination.store import accounts, listing_state, queue
from prosperstack_destination.store.accounts import Account, AccountStatus
from prosperstack_destination.store.database import Database
from prosperstack_destination.store.listing_state import ListingState
from prosperstack_destination.store.models import Lane, Status
from prosperstack_destination.store.queue import QueueSizes, QueueSnapshot
from prosperstack_destination.store.tables import profiles

NOW = 1_767_225_600_000_000
ACCOUNT = "acct_growth"
SIZES = (1_000, 10_000, 100_000, 1_000_000)
#: Planned requests in each measurement.
PLANNED = 200


def main() -> None:
    """Measure, and print a table."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    table = Table(title="Planning one request")
    for heading in ("profiles, all of them pending", "mean, ms", "slowest, ms", "process, MB"):
        table.add_column(heading, justify="right")
    for size in SIZES:
        milliseconds = asyncio.run(_measured(size))
        resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        table.add_row(
            f"{size:,}", f"{statistics.mean(milliseconds):.2f}", f"{max(milliseconds):.1f}", f"{resident}"
        )
    Console().print(table)


async def _measured(size: int) -> list[float]:
    folder = Path(tempfile.mkdtemp(prefix="bench-growth-"))
    database = Database(f"sqlite:///{folder / 'bench.db'}")
    try:
        await database.open()
        await database.write(_fill, size)
        took = []
        for number in range(PLANNED):
            began = time.perf_counter()
            if number % COUNT_TTL == 0:
                counts = await database.read(queue.count, ACCOUNT, NOW)
            pending, directory = await database.read(_look, counts)
            plan(_situation(pending, directory))
            took.append((time.perf_counter() - began) * 1000)
        return took
    finally:
        await database.close()
        shutil.rmtree(folder)


def _look(connection: Connection, counts: QueueSizes) -> tuple[QueueSnapshot, ListingState]:
    waiting = queue.waiting(connection, ACCOUNT, NOW, [1, 2])
    return waiting.snapshot(counts), listing_state.read(connection, ACCOUNT)


def _situation(pending: QueueSnapshot, directory: ListingState) -> PlannerInput:
    budget = Budget(reserve=0.1).sent(0)
    budget = budget.answered(budget.ticket, RateLimit(100, 99, 60.0), 0)
    return PlannerInput(pending, directory, budget, SpendHistory(), {}, False, NOW, 0)


def _fill(connection: Connection, size: int) -> None:
    account = Account(
        id=ACCOUNT,
        encrypted_key="",
        fingerprint="bench",
        live=False,
        status=AccountStatus.ACTIVE,
        status_reason=None,
        status_until=None,
        catalog=None,
        catalog_at=None,
    )
    accounts.add(connection, account, key_hash=ACCOUNT, now=NOW)
    for start in range(0, size, 10_000):
        connection.execute(insert(profiles), list(_rows(start, min(start + 10_000, size))))


def _rows(start: int, end: int) -> Iterator[dict[str, Any]]:
    """Add profiles: half wait for an update, half for a lookup."""
    for number in range(start, end):
        at = NOW - 1_000_000 - number
        yield {
            "account_id": ACCOUNT,
            "email": f"person{number}@example.com",
            "address": f"person{number}@example.com",
            "traits": '{"plan":["pro",1]}',
            "version": 1,
            "status": Status.READY if number % 2 else Status.UNKNOWN,
            "pending_since": at,
            "changed_at": at,
            "due_at": at,
            "lane": Lane.BULK if number % 10 else Lane.LIVE,
            "attempts": 0,
        }


if __name__ == "__main__":
    main()
