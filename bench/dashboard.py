"""How long the dashboard's pages take, and how large they are, with very many profiles stored and waiting.

The service runs in this process, over ASGI: what is measured is the making of a page, not the network.
"""

import argparse
import asyncio
import logging
import statistics
import tempfile
import time
from pathlib import Path

import httpx
import structlog
from bench.projecting import BATCH, _fill, _open_account
from pydantic import SecretStr
from rich.console import Console
from rich.table import Table
from sqlalchemy import Connection, select

from prosperstack_destination.application import create_app
from prosperstack_destination.settings import Settings
from prosperstack_destination.state.database import Database
from prosperstack_destination.state.tables import profiles

PASSWORD = "a password of the bench"  # noqa: S105 -- of a database that is thrown away
#: What a page may take: milliseconds, and KB.
MOST_MS, MOST_KB = 100, 200
#: Pages of an account; ``{person}`` is one who is there.
PAGES = (
    "overview",
    "overview?period=day",
    "overview?period=week",
    "segment",
    "mapping",
    "mapping/edit",
    "mapping/history",
    "calls",
    "people",
    "people?q=person999",
    "people?show=everybody",
    "people?stands=waiting",
    "people?stands=in_sync",
    "people/{person}",
    "problems",
    "settings",
)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profiles", type=int, default=1_000_000, help="how many are stored, and wait")
    parser.add_argument("--looks", type=int, default=20, help="at each page, of which the median counts")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_measure(Path(folder), options.profiles, options.looks))


async def _measure(folder: Path, count: int, looks: int) -> None:
    settings = Settings(
        _env_file=None,
        data_dir=folder,
        admin_password=SecretStr(PASSWORD),
        secret_key=SecretStr(PASSWORD),
        prosperstack_base_url="http://127.0.0.1:9/v1",
    )
    account_id, person = await _prepare(settings.effective_database_url, count)
    app = create_app(settings, transport=httpx.MockTransport(_away))
    table = Table("page", "ms (median)", "ms (slowest)", "KB", "within bounds")
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://bench", timeout=120) as client,
    ):
        await client.post("/dashboard/login", data={"password": PASSWORD})
        for name in PAGES:
            url = f"/dashboard/a/{account_id}/{name.format(person=person)}"
            taken, size = await _look(client, url, looks)
            good = statistics.median(taken) <= MOST_MS and size <= MOST_KB * 1024
            table.add_row(
                name,
                f"{statistics.median(taken):.1f}",
                f"{max(taken):.1f}",
                f"{size / 1024:.0f}",
                "yes" if good else "NO",
            )
    Console().print(table)


async def _look(client: httpx.AsyncClient, url: str, looks: int) -> tuple[list[float], int]:
    taken, size = [], 0
    for _ in range(looks):
        begun = time.perf_counter()
        answer = await client.get(url)
        taken.append((time.perf_counter() - begun) * 1000)
        assert answer.status_code == 200, f"{url}: {answer.status_code} {answer.text[:500]}"
        size = len(answer.content)
    return taken, size


async def _prepare(url: str, count: int) -> tuple[str, int]:
    """An account with so many profiles, all of them waiting; one of their ids."""
    database = Database(url)
    await database.open()
    account_id = await database.write(_open_account)
    for first in range(0, count, BATCH):
        await database.write(_fill, account_id, range(first, min(first + BATCH, count)))
    person = await database.read(_anybody)
    await database.close()
    return account_id, person


def _anybody(connection: Connection) -> int:
    return int(connection.execute(select(profiles.c.id).limit(1)).scalar_one())


def _away(_: httpx.Request) -> httpx.Response:
    """A ProsperStack that is down, so that everything goes on waiting."""
    return httpx.Response(503)


if __name__ == "__main__":
    main()
