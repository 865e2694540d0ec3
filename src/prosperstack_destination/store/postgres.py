"""Transactions on PostgreSQL.

The same units of work run over asyncpg, several at once, in this process and in others. Where two of them want the
same, one waits; what loses a race all the same is run again.
"""

import asyncio
import random
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TypeVar

import asyncpg
import structlog
from sqlalchemy import URL, Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as NoConnectionFree

from prosperstack_destination.errors import ConfigurationError, StoreUnavailable
from prosperstack_destination.store.dialects import LOCK_WAIT_SECONDS, unavailable
from prosperstack_destination.store.postgres_url import postgres_connection

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

log = structlog.get_logger(__name__)

T = TypeVar("T")

#: Transactions that a process may have open at once.
CONNECTIONS: Final = 10
#: How long connecting may take, and an answer to one statement, in seconds.
CONNECT_SECONDS: Final = 5.0
STATEMENT_SECONDS: Final = 60.0
#: What runs has this long to finish when the service stops, in seconds.
CLOSE_SECONDS: Final = 5.0
#: A process that falls asleep within a transaction loses it after this, and with it the locks that others wait for.
IDLE_SECONDS: Final = 3
#: A wait for a connection that is not taken off the wait for locks, in seconds: it takes a round trip to do so.
SHORT_WAIT_SECONDS: Final = 0.25
#: How often a unit of work that lost a race is run in all.
ATTEMPTS: Final = 8
#: How long the service waits at its start for a database that is not there yet, in seconds, and between two tries.
START_SECONDS: Final = 60.0
#: How long a host name may be unknown at the start, in seconds: a typo, or a network that is being set up.
NAME_SECONDS: Final = 4.0
START_PAUSE_SECONDS: Final = 0.5

#: Serialization failure, deadlock; a row that another transaction made first; a schema that has just changed.
_LOST_A_RACE: Final = frozenset({"40001", "40P01", "23505", "0A000"})
#: The database's state, and no fault of the unit of work: connection, rollback, resources, intervention, system;
#: read-only, idle for too long, locked; not migrated yet, or restored just now; damaged.
_PASSING: Final = ("08", "40", "53", "57", "58", "25006", "25P03", "55P03", "42P01", "XX001", "XX002")
#: While connecting: a wrong user, password or database; a parameter that the server or a pooler does not take.
_MISCONFIGURED: Final = ("28", "3D", "08P01", "22023", "42704")


class Postgresql:
    """One database on a server."""

    def __init__(self, url: URL) -> None:
        from sqlalchemy.ext.asyncio import create_async_engine  # a tenth of a second that SQLite need not spend

        connection = postgres_connection(url, connect_seconds=CONNECT_SECONDS)
        self._address = f"{url.host or 'localhost'}:{url.port or 5432}"
        self._engine = create_async_engine(
            connection.url,
            pool_size=CONNECTIONS,
            max_overflow=0,
            pool_timeout=LOCK_WAIT_SECONDS,
            hide_parameters=True,  # an error's text must not quote people's data
            connect_args={
                **connection.arguments,
                "command_timeout": STATEMENT_SECONDS,
                "server_settings": {
                    **connection.arguments["server_settings"],
                    "lock_timeout": f"{LOCK_WAIT_SECONDS:.0f}s",
                    "idle_in_transaction_session_timeout": f"{IDLE_SECONDS}s",
                },
            },
        )
        # One view of the data for all statements of a unit of work, as SQLite gives it.
        self._snapshots = self._engine.execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True
        )
        #: Units of work that run, those included whose callers wait no more.
        self._running = 0
        self._at_rest = asyncio.Event()
        self._at_rest.set()
        self._closed = False

    async def open(self) -> None:
        """Wait until the server answers. Raises `ConfigurationError` where it refuses, `StoreUnavailable` in
        the end.
        """
        now = asyncio.get_running_loop().time
        begun, reported = now(), False
        while True:
            try:
                await self.run(lambda connection: connection.exec_driver_sql("SELECT 1"), writing=False)
            except StoreUnavailable as error:
                unknown = isinstance(error.__cause__, socket.gaierror)
                if unknown and now() - begun > NAME_SECONDS:
                    raise ConfigurationError(
                        f"DATABASE_URL names a host that is not known: {self._address}. Is it written right, and "
                        "can this machine resolve it?"
                    ) from error
                if now() - begun > START_SECONDS:
                    raise
                if not reported:
                    log.warning("PostgreSQL does not answer yet", address=self._address, reason=str(error))
                    reported = True
            else:
                return
            await asyncio.sleep(START_PAUSE_SECONDS)

    async def close(self) -> None:
        """Begin nothing more, finish what runs, and let go of the server."""
        self._closed = True
        # A connection that came back later would be closed by nobody. Past this time the server does not answer.
        with suppress(TimeoutError):
            await asyncio.wait_for(self._at_rest.wait(), CLOSE_SECONDS)
        await self._engine.dispose()

    async def run(self, work: Callable[[Connection], T], *, writing: bool) -> T:
        """Run a unit of work in a transaction; again where it lost a race: it must be safe to repeat."""
        if self._closed:
            raise unavailable("it was closed")
        self._running += 1
        self._at_rest.clear()
        try:
            return await self._run(work, writing=writing)
        finally:
            self._running -= 1
            if not self._running:
                self._at_rest.set()

    async def read_inline(self, work: Callable[[Connection], T]) -> T:
        """Run a unit of work that reads a few rows."""
        return await self.run(work, writing=False)

    async def _run(self, work: Callable[[Connection], T], *, writing: bool) -> T:
        begun = time.monotonic()
        for attempt in range(1, ATTEMPTS + 1):
            try:
                async with (self._engine if writing else self._snapshots).begin() as connection:
                    await _wait_for_locks(connection, LOCK_WAIT_SECONDS - (time.monotonic() - begun))
                    return await connection.run_sync(work)
            except DBAPIError as error:
                if _sqlstate(error) in _LOST_A_RACE and attempt < ATTEMPTS:
                    await asyncio.sleep(random.random() * 0.01 * attempt)  # noqa: S311 -- so that two part ways
                    continue
                if not _passes(error):
                    raise
                raise unavailable(error.orig) from error
            except asyncpg.PostgresError as error:  # while connecting
                raise _refusal(error) from error
            except (asyncpg.ClientConfigurationError, ssl.SSLError) as error:
                raise ConfigurationError(f"DATABASE_URL cannot be used for {self._address}: {error}.") from error
            except (OSError, asyncpg.InterfaceError, NoConnectionFree) as error:
                if "rejected SSL upgrade" in str(error):  # which asyncpg raises as a ConnectionError
                    raise ConfigurationError(
                        f"PostgreSQL at {self._address} does not speak TLS, which DATABASE_URL asks for (sslmode)."
                    ) from error
                raise unavailable(str(error) or type(error).__name__) from error
        raise AssertionError  # the last attempt returns or raises


async def _wait_for_locks(connection: "AsyncConnection", seconds: float) -> None:
    """Have a transaction that waited for a connection wait for locks for what is left of its time."""
    if seconds < LOCK_WAIT_SECONDS - SHORT_WAIT_SECONDS:
        await connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{max(round(seconds * 1000), 50)}ms'")


def _passes(error: DBAPIError) -> bool:
    return error.connection_invalidated or (_sqlstate(error) or "08").startswith(_PASSING)


def _refusal(error: asyncpg.PostgresError) -> ConfigurationError | StoreUnavailable:
    if (error.sqlstate or "").startswith(_MISCONFIGURED):
        return ConfigurationError(f"PostgreSQL refuses DATABASE_URL: {error}.")
    return unavailable(error)


def _sqlstate(error: DBAPIError) -> str | None:
    """PostgreSQL's code for what went wrong; None: it is the driver's own error, as for a lost connection."""
    return getattr(error.orig, "sqlstate", None)
