"""Benchmark of the dashboard: time and size of its pages with many profiles stored and waiting.

The service runs in this process, over ASGI: what is measured is the making of a page, not the network. A page is
looked at several times: the median counts, and the first look is told as well.
"""

import argparse
import asyncio
import gc
import logging
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import structlog
from bench.dashboard_filling import BATCH, SECRET, Filled, fill_people, fill_the_rest, filled, open_account
from pydantic import SecretStr
from rich.console import Console
from rich.table import Table

from prosperstack_destination.app import create_app
from prosperstack_destination.server import GARBAGE_THRESHOLD, SWITCH_SECONDS
from prosperstack_destination.settings import Settings
from prosperstack_destination.store.database import Database

PASSWORD: Final = "a password of the bench"  # noqa: S105 -- of a database that is thrown away
#: What a page may take: milliseconds, and KB.
MOST_MS: Final = 100
MOST_KB: Final = 200
#: Pages of an account; ``{person}`` is one who is there, ``{call}`` a call.
PAGES: Final = (
    "overview",
    "overview?period=day",
    "overview?period=week",
    "segment",
    "segment/connect",
    "segment/by-hand/destination",
    "segment/by-hand/webhook",
    "segment/by-hand/sdk",
    "mapping",
    "mapping?find=address",
    "mapping/coverage",
    "mapping/edit",
    "mapping/edit?rule=plan",
    "mapping/history",
    "mapping/history/3",
    "mapping/history/{version}",
    "mapping/export",
    "calls",
    "calls?reveal=true",
    "calls?email=person999@example.com",
    "calls?email=nobody@example.com",
    "calls?type=delete",
    "calls?source=source:project7",
    "calls?source=audience:nothing",
    "calls?outcome=refused",
    "calls?outcome=later",
    "calls/{call}",
    "people",
    "people?q=person999",
    "people?q=person999999@example.com",
    "people?q=u77",
    "people?show=everybody",
    "people?stands=waiting",
    "people?stands=in_sync",
    "people?stands=unmatched",
    "people?stands=set_aside",
    "people?q=person5&stands=in_sync",
    "people/{person}",
    "problems",
    "problems/replay",
    "settings",
)
#: Forms that show something and change nothing; ``{draft}`` is a mapping.
FORMS: Final = ("mapping/edit", "mapping/preview", "mapping/review")


@dataclass(frozen=True, slots=True)
class Look:
    """What looking at a page several times told: times in milliseconds, the size in bytes."""

    page: str
    taken: list[float]
    size: int

    @property
    def is_good(self) -> bool:
        """Return whether the page is within its bounds."""
        return statistics.median(self.taken) <= MOST_MS and self.size <= MOST_KB * 1024


def main() -> None:
    """Measure, and print a table; fail where a page is out of bounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profiles", type=int, default=1_000_000, help="how many are stored, and wait")
    parser.add_argument("--looks", type=int, default=20, help="at each page, of which the median counts")
    parser.add_argument("--keep", type=Path, help="a folder that keeps the database, for the next time")
    options = parser.parse_args()
    sys.setswitchinterval(SWITCH_SECONDS)  # as `serve` does: pages are made while others count
    gc.set_threshold(GARBAGE_THRESHOLD)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(_measure(options.keep or Path(folder), options.profiles, options.looks))
    _show(found)
    raise SystemExit(0 if all(each.is_good for each in found) else 1)


def _show(found: list[Look]) -> None:
    table = Table("page", "ms (first)", "ms (median)", "ms (slowest)", "KB", "within bounds")
    for each in found:
        times = (each.taken[0], statistics.median(each.taken), max(each.taken))
        within = "yes" if each.is_good else "NO"
        table.add_row(each.page, *(f"{ms:.1f}" for ms in times), f"{each.size / 1024:.0f}", within)
    Console(width=110).print(table)


async def _measure(folder: Path, count: int, looks: int) -> list[Look]:
    settings = Settings(
        _env_file=None,
        data_dir=folder,
        admin_password=SecretStr(PASSWORD),
        secret_key=SecretStr(SECRET),
        prosperstack_base_url="http://127.0.0.1:9/v1",
    )
    there = await _prepare(settings.effective_database_url, count)
    app = create_app(settings, transport=httpx.MockTransport(_away))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://bench", timeout=120) as client,
    ):
        await client.post("/dashboard/login", data={"password": PASSWORD})
        home = f"/dashboard/a/{there.account_id}"
        found = [await _look(client, "/dashboard/accounts", "accounts", looks)]
        for page in PAGES:
            name = page.format(person=there.person, call=there.call, version=there.version)
            found.append(await _look(client, f"{home}/{name}", name, looks))
        editor = (await client.get(f"{home}/mapping/edit")).text
        form = {
            "csrf": editor.split('name="csrf" value="')[1].split('"')[0],
            "draft": there.draft,
            "based_on": str(there.version),
        }
        for page in FORMS:
            found.append(await _look(client, f"{home}/{page}", f"POST {page}", looks, form))
    return found


async def _look(
    client: httpx.AsyncClient, url: str, name: str, looks: int, form: dict[str, Any] | None = None
) -> Look:
    taken, size = [], 0
    for _ in range(looks):
        begun = time.perf_counter()
        answer = await (client.get(url) if form is None else client.post(url, data=form))
        taken.append((time.perf_counter() - begun) * 1000)
        # A search that finds one person leads to them.
        assert answer.status_code in (200, 303), f"{url}: {answer.status_code} {answer.text[:500]}"
        size = answer.num_bytes_downloaded
    return Look(name, taken, size)


async def _prepare(url: str, count: int) -> Filled:
    """A database with so many profiles, all of them waiting; one that is there already is taken as it is."""
    database = Database(url)
    await database.open()
    there = await database.read(filled)
    if there is None:
        account_id = await database.write(open_account)
        for first in range(0, count, BATCH):
            await database.write(fill_people, account_id, range(first, min(first + BATCH, count)))
        await database.write(fill_the_rest, account_id)
        there = await database.read(filled)
    await database.close()
    assert there is not None
    return there


def _away(_: httpx.Request) -> httpx.Response:
    """ProsperStack that is down, so that all profiles stay waiting."""
    return httpx.Response(503)


if __name__ == "__main__":
    main()
