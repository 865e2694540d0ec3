"""PostgreSQL engine.

Transactions run over asyncpg, several at once, in this process and in other replicas. Conflicting transactions
wait for each other; a transaction that fails with a serialization error or a deadlock runs again.
"""

import asyncio
import os
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

from prosperstack_destination.errors import DatabaseUnreachable, StoreUnavailable
from prosperstack_destination.store.postgres_url import postgres_connection
from prosperstack_destination.store.statements import LOCK_WAIT_SECONDS, message_of, unavailable

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
#: Time that the start waits for a server that answers but admits no connection yet, as during recovery; for an
#: address at which nothing answers, which is a typo or a server that is starting; and the pause between two
#: attempts. All in seconds.
RECOVERY_SECONDS: Final = 60.0
ABSENT_SECONDS: Final = 10.0
START_PAUSE_SECONDS: Final = 0.5

#: Conflicts: serialization failure, deadlock, a row that another transaction inserted first, a schema that just
#: changed.
_RACES: Final = frozenset({"40001", "40P01", "23505", "0A000"})
#: Outages of the database, independent of the transaction. Classes: connection, rollback, resources, operator
#: intervention, system. Codes: read-only, idle for too long, locked, not migrated yet or just restored, damaged.
_OUTAGES: Final = ("08", "40", "53", "57", "58", "25006", "25P03", "55P03", "42P01", "XX001", "XX002")
#: Outages that a server reports while connecting: resources, operator intervention, system. Any other code means
#: a wrong user, password, database or parameter.
_START_OUTAGES: Final = ("53", "57", "58")
#: Lost connections. The driver reports a connection that something else than PostgreSQL closed as one of them.
_DISCONNECTS: Final = ("08000", "08001", "08003", "08004", "08006")


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
        #: True if a connection has been made: from then on no failure is the fault of DATABASE_URL.
        self._connected = False
        #: Number of running transactions, including those whose callers were cancelled.
        self._running = 0
        self._at_rest = asyncio.Event()
        self._at_rest.set()
        self._closed = False

    async def open(self) -> None:
        """Wait until the server admits connections, for as long as waiting may help.

        Raises `DatabaseUnreachable`, a `ConfigurationError`, if it does not.
        """
        started_at, reported = time.monotonic(), False
        while True:
            try:
                await self.run(lambda connection: connection.exec_driver_sql("SELECT 1"), writing=False)
            except DatabaseUnreachable as error:
                if time.monotonic() - started_at + START_PAUSE_SECONDS > error.wait_seconds:
                    raise
                if not reported:
                    log.warning("waiting for PostgreSQL", reason=str(error), seconds=error.wait_seconds)
                    reported = True
            except StoreUnavailable:  # the connection was lost after it had been made
                if time.monotonic() - started_at > RECOVERY_SECONDS:
                    raise
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
        """Run ``work`` in a transaction, again after a conflict: it must be safe to repeat.

        Raises `DatabaseUnreachable` until the first connection is made, and `StoreUnavailable` from then on.
        """
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
            connecting = True
            try:
                async with (self._engine if writing else self._snapshots).begin() as connection:
                    connecting, self._connected = False, True
                    await _wait_for_locks(connection, LOCK_WAIT_SECONDS - (time.monotonic() - begun))
                    return await connection.run_sync(work)
            except NoConnectionFree as error:
                raise unavailable(error) from error
            except (DBAPIError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
                if connecting:
                    raise self._connection_error(error) from error
                if _sqlstate(error) in _RACES and attempt < ATTEMPTS:
                    await asyncio.sleep(random.random() * 0.01 * attempt)  # noqa: S311 -- random, so that two transactions do not collide again
                    continue
                if isinstance(error, DBAPIError) and not _passes(error):
                    raise
                raise unavailable(_reason(error)) from error
        raise AssertionError  # the last attempt returns or raises

    def _connection_error(self, error: Exception) -> DatabaseUnreachable | StoreUnavailable:
        return unavailable(_reason(error)) if self._connected else _unreachable(error, self._address)


async def _wait_for_locks(connection: "AsyncConnection", seconds: float) -> None:
    """Shorten the lock timeout of a transaction that waited for a connection to the rest of its time."""
    if seconds < LOCK_WAIT_SECONDS - SHORT_WAIT_SECONDS:
        await connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{max(round(seconds * 1000), 50)}ms'")


def _passes(error: DBAPIError) -> bool:
    return error.connection_invalidated or (_sqlstate(error) or "08").startswith(_OUTAGES)


def _unreachable(error: Exception, address: str) -> DatabaseUnreachable:
    """Return the error of a failed connection: what happened, what to change, and how long waiting may help."""
    code, reason = _sqlstate(error), _reason(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        text = (
            f"The certificate of PostgreSQL at {address} is refused: {error.verify_message.rstrip('.')}. Check the "
            "host in DATABASE_URL, and sslrootcert, which names the authority's certificate."
        )
    elif isinstance(error, ssl.SSLError):
        text = f"TLS with PostgreSQL at {address} fails ({reason}). Check sslmode and certificates in DATABASE_URL."
    elif "rejected SSL upgrade" in reason:  # asyncpg raises it as a ConnectionError
        text = f"PostgreSQL at {address} does not support TLS, as DATABASE_URL requires (sslmode)."
    elif isinstance(error, socket.gaierror) and error.errno != socket.EAI_AGAIN:
        text = (
            f"DATABASE_URL names an unknown host: {address}. Check the spelling, and that this machine can resolve "
            "it."
        )
    elif code is not None and code.startswith(_START_OUTAGES):
        text = f"PostgreSQL at {address} admits no connection now ({reason}). Try again, and look into its log."
        return DatabaseUnreachable(text, wait_seconds=RECOVERY_SECONDS)
    elif code is not None and code not in _DISCONNECTS:
        text = f"PostgreSQL at {address} refuses DATABASE_URL: {reason}."
    else:
        text = (
            f"No PostgreSQL answers at {address} ({reason}). Check host and port in DATABASE_URL, and that "
            "PostgreSQL runs there and can be reached from this machine."
        )
        return DatabaseUnreachable(text, wait_seconds=ABSENT_SECONDS)
    return DatabaseUnreachable(text, wait_seconds=0)


def _reason(error: Exception) -> str:
    """Return the reason of an error in words; the server's own message without details, which may quote rows."""
    if isinstance(error, DBAPIError):
        return message_of(error.orig)
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)
    return message_of(error) or type(error).__name__


def _sqlstate(error: Exception) -> str | None:
    """Return PostgreSQL's error code. None: an error of the driver, such as a lost connection."""
    return getattr(error.orig if isinstance(error, DBAPIError) else error, "sqlstate", None)
