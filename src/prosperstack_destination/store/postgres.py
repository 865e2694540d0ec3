"""PostgreSQL engine.

Transactions run over asyncpg, several at once, in this process and in other replicas. Conflicting transactions
wait for each other; a transaction that fails with a serialization error or a deadlock runs again.
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

#: Maximum number of open connections of a process.
CONNECTIONS: Final = 10
#: Timeouts of connecting and of one statement, in seconds.
CONNECT_SECONDS: Final = 5.0
STATEMENT_SECONDS: Final = 60.0
#: Time that running transactions have to finish when the service stops, in seconds.
CLOSE_SECONDS: Final = 5.0
#: Timeout after which PostgreSQL ends a transaction whose process is stalled, in seconds: its locks are released.
IDLE_SECONDS: Final = 3
#: Waits for a connection up to this long do not shorten the lock timeout, which costs a round trip; in seconds.
SHORT_WAIT_SECONDS: Final = 0.25
#: Maximum number of times that a transaction runs after conflicts.
ATTEMPTS: Final = 8
#: Time that the service waits at its start for an unreachable database, in seconds, and the pause between two
#: attempts (`START_PAUSE_SECONDS`).
START_SECONDS: Final = 60.0
#: Time that a host name may be unresolvable at the start, in seconds: a typo, or a network that is starting.
NAME_SECONDS: Final = 4.0
START_PAUSE_SECONDS: Final = 0.5

#: Conflicts: serialization failure, deadlock, a row that another transaction inserted first, a schema that just
#: changed.
_LOST_A_RACE: Final = frozenset({"40001", "40P01", "23505", "0A000"})
#: Outages of the database, independent of the transaction. Classes: connection, rollback, resources, operator
#: intervention, system. Codes: read-only, idle for too long, locked, not migrated yet or just restored, damaged.
_PASSING: Final = ("08", "40", "53", "57", "58", "25006", "25P03", "55P03", "42P01", "XX001", "XX002")
#: Configuration errors while connecting: a wrong user, password or database; a parameter that the server or a
#: pooler does not accept.
_MISCONFIGURED: Final = ("28", "3D", "08P01", "22023", "42704")


class Postgresql:
    """PostgreSQL database."""

    def __init__(self, url: URL) -> None:
        from sqlalchemy.ext.asyncio import create_async_engine  # takes 0.1 s, which SQLite users need not spend

        connection = postgres_connection(url, connect_seconds=CONNECT_SECONDS)
        self._address = f"{url.host or 'localhost'}:{url.port or 5432}"
        self._engine = create_async_engine(
            connection.url,
            pool_size=CONNECTIONS,
            max_overflow=0,
            pool_timeout=LOCK_WAIT_SECONDS,
            hide_parameters=True,  # error messages must not quote personal data
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
        # One snapshot for all statements of a reading transaction, as on SQLite.
        self._snapshots = self._engine.execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True
        )
        #: Number of running transactions, including those whose callers were cancelled.
        self._running = 0
        self._at_rest = asyncio.Event()
        self._at_rest.set()
        self._closed = False

    async def open(self) -> None:
        """Wait until the server answers.

        Raises `ConfigurationError` if it refuses the connection, and `StoreUnavailable` after `START_SECONDS`.
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
                        f"DATABASE_URL names an unknown host: {self._address}. Check the spelling, and that "
                        "this machine can resolve it."
                    ) from error
                if now() - begun > START_SECONDS:
                    raise
                if not reported:
                    log.warning("PostgreSQL does not answer; retrying", address=self._address, reason=str(error))
                    reported = True
            else:
                return
            await asyncio.sleep(START_PAUSE_SECONDS)

    async def close(self) -> None:
        """Accept no more transactions, wait for running ones, and close all connections."""
        self._closed = True
        # A connection returned after `dispose` would stay open. After the timeout the server does not answer.
        with suppress(TimeoutError):
            await asyncio.wait_for(self._at_rest.wait(), CLOSE_SECONDS)
        await self._engine.dispose()

    async def run(self, work: Callable[[Connection], T], *, writing: bool) -> T:
        """Run ``work`` in a transaction, again after a conflict: it must be safe to repeat."""
        if self._closed:
            raise unavailable("it is closed")
        self._running += 1
        self._at_rest.clear()
        try:
            return await self._run(work, writing=writing)
        finally:
            self._running -= 1
            if not self._running:
                self._at_rest.set()

    async def read_inline(self, work: Callable[[Connection], T]) -> T:
        """Run ``work``, which reads a few rows."""
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
                    await asyncio.sleep(random.random() * 0.01 * attempt)  # noqa: S311 -- random, so that two transactions do not collide again
                    continue
                if not _passes(error):
                    raise
                raise unavailable(error.orig) from error
            except asyncpg.PostgresError as error:  # while connecting
                raise _refusal(error) from error
            except (asyncpg.ClientConfigurationError, ssl.SSLError) as error:
                raise ConfigurationError(f"DATABASE_URL cannot be used for {self._address}: {error}.") from error
            except (OSError, asyncpg.InterfaceError, NoConnectionFree) as error:
                if "rejected SSL upgrade" in str(error):  # asyncpg raises it as a ConnectionError
                    raise ConfigurationError(
                        f"PostgreSQL at {self._address} does not support TLS, as DATABASE_URL requires (sslmode)."
                    ) from error
                raise unavailable(str(error) or type(error).__name__) from error
        raise AssertionError  # the last attempt returns or raises


async def _wait_for_locks(connection: "AsyncConnection", seconds: float) -> None:
    """Shorten the lock timeout of a transaction that waited for a connection to the rest of its time."""
    if seconds < LOCK_WAIT_SECONDS - SHORT_WAIT_SECONDS:
        await connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{max(round(seconds * 1000), 50)}ms'")


def _passes(error: DBAPIError) -> bool:
    return error.connection_invalidated or (_sqlstate(error) or "08").startswith(_PASSING)


def _refusal(error: asyncpg.PostgresError) -> ConfigurationError | StoreUnavailable:
    if (error.sqlstate or "").startswith(_MISCONFIGURED):
        return ConfigurationError(f"PostgreSQL refuses DATABASE_URL: {error}.")
    return unavailable(error)


def _sqlstate(error: DBAPIError) -> str | None:
    """Return PostgreSQL's error code. None: an error of the driver, such as a lost connection."""
    return getattr(error.orig, "sqlstate", None)
