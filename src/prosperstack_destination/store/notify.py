"""Telling other processes that something changed: PostgreSQL's LISTEN and NOTIFY. Polling is the net beneath it."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Final

import asyncpg
import structlog
from sqlalchemy import Connection, text

from prosperstack_destination.errors import StoreUnavailable
from prosperstack_destination.store.database import Database, backend_of, parse_database_url
from prosperstack_destination.store.postgres import CONNECT_SECONDS
from prosperstack_destination.store.postgres_url import postgres_connection

log = structlog.get_logger(__name__)

_CHANNEL: Final = "prosperstack_destination"
#: What changes within this time is told together, in seconds: a notification makes commits wait for each other.
GATHERED_SECONDS: Final = 0.05
#: Accounts in one notification: PostgreSQL takes 8,000 bytes.
ACCOUNTS_AT_ONCE: Final = 200
#: How often listening is tried again after the connection was lost, and checked while nothing is heard, in seconds.
AGAIN_SECONDS: Final = 2.0

_NOTIFY: Final = text("SELECT pg_notify(:channel, :payload)")


class PgNotifier:
    """Tells other processes which accounts changed, and ``on_change`` what others tell. Does nothing on SQLite.

    ``replica`` names this process: what it tells itself it need not hear.
    """

    def __init__(
        self, database: Database, url: str, replica: str, on_change: Callable[[list[str]], None] | None
    ) -> None:
        self._database = database
        self._url = url if backend_of(url) == "postgresql" else None
        self._replica = replica
        self._on_change = on_change
        self._changed: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._telling: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to listen, where somebody wants to hear."""
        if self._url is not None and self._on_change is not None:
            self._run(self._listen(self._url, self._on_change))

    async def stop(self) -> None:
        """Stop; what was not told yet is found by polling."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def notify(self, account_ids: Iterable[str]) -> None:
        """Tell others that these accounts changed, soon."""
        if self._url is None:
            return
        self._changed.update(account_ids)
        if self._telling is None or self._telling.done():
            self._telling = self._run(self._tell())

    def _run(self, work: Coroutine[None, None, None]) -> "asyncio.Task[None]":
        task = asyncio.create_task(work, name="wakeups")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _tell(self) -> None:
        while self._changed:
            await asyncio.sleep(GATHERED_SECONDS)
            changed, self._changed = sorted(self._changed), set()
            try:
                await self._database.write(_notify, self._replica, changed)
            except StoreUnavailable as error:
                log.info("others could not be woken: they poll", reason=str(error))

    async def _listen(self, url: str, on_change: Callable[[list[str]], None]) -> None:
        """Listen for ever; a connection that is lost is made anew."""

        def hear(_connection: object, _pid: int, _channel: str, payload: object) -> None:
            replica, *account_ids = str(payload).split(" ")
            if replica != self._replica:
                on_change(account_ids)

        given = postgres_connection(parse_database_url(url), connect_seconds=CONNECT_SECONDS)
        address = given.url.set(drivername="postgresql").render_as_string(hide_password=False)
        while True:
            try:
                connection = await asyncpg.connect(address, **given.arguments)
                try:
                    await connection.add_listener(_CHANNEL, hear)
                    while not connection.is_closed():
                        await asyncio.sleep(AGAIN_SECONDS)
                        await connection.execute("SELECT 1", timeout=CONNECT_SECONDS)
                finally:
                    connection.terminate()
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                log.info("nothing is heard from others: polling goes on", reason=type(error).__name__)
            await asyncio.sleep(AGAIN_SECONDS)


def _notify(connection: Connection, replica: str, account_ids: list[str]) -> None:
    connection.exec_driver_sql("SET LOCAL synchronous_commit = off")  # nothing is stored
    for start in range(0, len(account_ids), ACCOUNTS_AT_ONCE):
        payload = " ".join([replica, *account_ids[start : start + ACCOUNTS_AT_ONCE]])
        connection.execute(_NOTIFY, {"channel": _CHANNEL, "payload": payload})
