"""Notifications between processes by PostgreSQL's LISTEN and NOTIFY. Polling covers lost ones."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Final

import asyncpg
import structlog
from sqlalchemy import Connection, text

from prosperstack_destination.background import cancel
from prosperstack_destination.errors import StoreUnavailable
from prosperstack_destination.store.database import Database, backend_of, parse_database_url
from prosperstack_destination.store.postgres import CONNECT_SECONDS
from prosperstack_destination.store.postgres_url import postgres_connection

log = structlog.get_logger(__name__)

_CHANNEL: Final = "prosperstack_destination"
#: Time that changes are collected for one notification, in seconds: notifications serialise commits.
COLLECT_SECONDS: Final = 0.05
#: Maximum number of accounts in one notification: PostgreSQL's payload limit is 8,000 bytes.
MAX_ACCOUNTS: Final = 200
#: Pause before reconnecting, and between checks of the idle connection, in seconds.
RETRY_SECONDS: Final = 2.0

_NOTIFY: Final = text("SELECT pg_notify(:channel, :payload)")


class PgNotifier:
    """Sends changed accounts to other processes, and passes theirs to ``on_change``. No effect on SQLite.

    ``replica`` names this process, whose own notifications are ignored.
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
        """Start listening, if there is a callback."""
        if self._url is not None and self._on_change is not None:
            self._run(self._listen(self._url, self._on_change))

    async def stop(self) -> None:
        """Stop. Polling finds changes that were not sent."""
        await cancel(self._tasks)

    def notify(self, account_ids: Iterable[str]) -> None:
        """Send these accounts soon."""
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
            await asyncio.sleep(COLLECT_SECONDS)
            changed, self._changed = sorted(self._changed), set()
            try:
                await self._database.write(_notify, self._replica, changed)
            except StoreUnavailable as error:
                log.info("notification failed; other processes find changes by polling", reason=str(error))

    async def _listen(self, url: str, on_change: Callable[[list[str]], None]) -> None:
        """Listen and reconnect until cancelled."""

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
                        await asyncio.sleep(RETRY_SECONDS)
                        await connection.execute("SELECT 1", timeout=CONNECT_SECONDS)
                finally:
                    connection.terminate()
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                log.info(
                    "listening failed; polling finds changes until it reconnects",
                    reason=type(error).__name__,
                )
            await asyncio.sleep(RETRY_SECONDS)


def _notify(connection: Connection, replica: str, account_ids: list[str]) -> None:
    connection.exec_driver_sql("SET LOCAL synchronous_commit = off")  # a notification stores nothing
    for start in range(0, len(account_ids), MAX_ACCOUNTS):
        payload = " ".join([replica, *account_ids[start : start + MAX_ACCOUNTS]])
        connection.execute(_NOTIFY, {"channel": _CHANNEL, "payload": payload})
