"""Database access: one interface that runs transactions on SQLite or PostgreSQL.

A transaction is a plain function of a SQLAlchemy ``Connection``. The same function serves both engines.
"""

from collections.abc import Callable, Coroutine
from copy import copy
from typing import Any, Concatenate, Final, ParamSpec, Protocol, TypeVar

from sqlalchemy import URL, Connection, delete, insert, make_url, text
from sqlalchemy.exc import ArgumentError

from prosperstack_destination.background import DeadlineRunner
from prosperstack_destination.errors import ConfigurationError
from prosperstack_destination.store import migrations
from prosperstack_destination.store.postgres import Postgresql
from prosperstack_destination.store.sqlite import Sqlite
from prosperstack_destination.store.statements import unavailable
from prosperstack_destination.store.tables import held, identities, profiles, replicas, sources

P = ParamSpec("P")
T = TypeVar("T")

#: "postgres" is the scheme in the URLs of hosting companies.
_POSTGRESQL: Final = frozenset({"postgresql", "postgres"})
_EXAMPLES: Final = "sqlite:///path/to/file.db or postgresql://user:password@host/database"


class Backend(Protocol):
    """Database engine."""

    async def open(self) -> None:
        """Connect, and wait until the engine takes transactions."""

    async def close(self) -> None:
        """Finish running transactions and close all connections."""

    async def run(self, work: Callable[[Connection], T], *, writing: bool) -> T:
        """Run ``work`` in a transaction that is on disk when this returns. Raises `StoreUnavailable`."""

    async def read_inline(self, work: Callable[[Connection], T]) -> T:
        """Run ``work``, which reads a few rows, with the least possible delay. Raises `StoreUnavailable`."""


class UnitOfWork(Protocol):
    """Interface that runs functions as transactions."""

    async def write(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``work`` in a transaction that is on disk when this returns."""

    async def read(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``work`` on one consistent view of the data; it must not write."""


class Database:
    """Open database that runs functions as transactions.

    Every method raises `StoreUnavailable` if the database is full, locked, read-only or unreachable; the
    transaction is then rolled back. A transaction may run several times before that, so it must have no effects
    outside its connection. Any other error is raised as SQLAlchemy or SQLite's driver raises it.
    """

    def __init__(self, url: str) -> None:
        self._engine = _engine(url)

    def answering_within(self, seconds: float) -> "Database":
        """Return this database with a limit on each transaction: `StoreUnavailable` after ``seconds``.

        The outcome of such a transaction is unknown: it may still be committed.
        """
        limited = copy(self)
        limited._engine = _LimitedBackend(self._engine, seconds)
        return limited

    async def open(self) -> None:
        """Create the database file if it is missing, and migrate the schema. Safe to repeat, also concurrently."""
        await self._engine.open()
        await self.write(migrations.upgrade)

    async def close(self) -> None:
        """Finish running transactions and close all connections."""
        await self._engine.close()

    async def write(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``work`` in a transaction that is on disk when this returns."""
        return await self._engine.run(lambda connection: work(connection, *args, **kwargs), writing=True)

    async def read(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``work`` on one consistent view of the data; it must not write."""
        return await self._engine.run(lambda connection: work(connection, *args, **kwargs), writing=False)

    async def read_inline(
        self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Read a few rows by an index, without leaving the event loop on SQLite.

        For short queries whose callers cannot wait for a thread: it blocks the event loop while it runs.
        """
        return await self._engine.read_inline(lambda connection: work(connection, *args, **kwargs))


class _LimitedBackend:
    """`Backend` whose transactions are left behind after a time: a server that hangs does not hold up callers."""

    def __init__(self, backend: Backend, seconds: float) -> None:
        self.open = backend.open
        self.close = backend.close
        self._backend = backend
        self._seconds = seconds
        self._runner = DeadlineRunner()

    async def run(self, work: Callable[[Connection], T], *, writing: bool) -> T:
        return await self._limit(lambda: self._backend.run(work, writing=writing))

    async def read_inline(self, work: Callable[[Connection], T]) -> T:
        return await self._limit(lambda: self._backend.read_inline(work))

    async def _limit(self, run: Callable[[], Coroutine[Any, Any, T]]) -> T:
        try:
            return await self._runner.run(self._seconds, run)
        except TimeoutError as error:
            raise unavailable(f"it does not answer within {self._seconds:.1f} s") from error


def backend_of(url: str) -> str:
    """Return ``sqlite`` or ``postgresql``. Raises `ConfigurationError` for any other scheme."""
    return parse_database_url(url).get_backend_name()


def parse_database_url(url: str) -> URL:
    """Return DATABASE_URL with this service's driver. Raises `ConfigurationError` for an invalid URL."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # ValueError: the port is not a number
        raise ConfigurationError(
            f"DATABASE_URL is not a database URL: use {_EXAMPLES}. Write characters such as @ : / # in a password "
            "as %40 %3A %2F %23."
        ) from None
    name = parsed.drivername.partition("+")[0].lower()
    if name == "sqlite":
        if parsed.host:
            raise ConfigurationError(
                f"DATABASE_URL has two slashes after sqlite:, but a file needs three: use {_EXAMPLES}."
            )
        return parsed.set(drivername="sqlite")
    if name in _POSTGRESQL:
        return parsed.set(drivername="postgresql+asyncpg")
    raise ConfigurationError(f"DATABASE_URL names an unsupported database ({name}): use {_EXAMPLES}.")


def _engine(url: str) -> Backend:
    parsed = parse_database_url(url)
    return (Sqlite if parsed.get_backend_name() == "sqlite" else Postgresql)(parsed)


#: Tables that every call is written to: a lock on one of them blocks all calls.
_WRITTEN_TO: Final = (profiles, identities, sources, held)
#: Lock timeout, in seconds.
LOCK_SECONDS: Final = 1


def probe_writes(connection: Connection, name: str) -> None:
    """Insert a row and delete it again, under the locks that a call takes.

    ``name`` is the process's own, so that concurrent probes do not wait for each other. Raises the same errors as
    a write.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'"))
        names = ", ".join(table.name for table in _WRITTEN_TO)
        connection.execute(text(f"LOCK TABLE {names} IN ROW EXCLUSIVE MODE"))  # the lock that an INSERT takes
    connection.execute(insert(replicas).values(id=name, expires_at=0))
    connection.execute(delete(replicas).where(replicas.c.id == name))
