"""Running units of work in transactions.

A unit of work is a plain function of a SQLAlchemy ``Connection``; it is the same for both engines.
"""

from collections.abc import Callable
from typing import Concatenate, Final, ParamSpec, Protocol, TypeVar

from sqlalchemy import URL, Connection, make_url
from sqlalchemy.exc import ArgumentError

from prosperstack_destination.errors import ConfigurationError
from prosperstack_destination.store import migrate
from prosperstack_destination.store.postgres import Postgresql
from prosperstack_destination.store.sqlite import Sqlite

P = ParamSpec("P")
T = TypeVar("T")

#: "postgres" is what hosting companies write.
_POSTGRESQL: Final = frozenset({"postgresql", "postgres"})
_EXAMPLES: Final = "sqlite:///path/to/file.db or postgresql://user:password@host/database"


class Backend(Protocol):
    """A kind of database."""

    async def open(self) -> None:
        """Be ready for transactions."""

    async def close(self) -> None:
        """Finish what runs, and let go."""

    async def run(self, work: Callable[[Connection], T], *, writing: bool) -> T:
        """Run a unit of work in a transaction; when this returns it is on disk. Raises `StoreUnavailable`."""

    async def read_inline(self, work: Callable[[Connection], T]) -> T:
        """Run a unit of work that reads a few rows, with as little delay as can be. Raises `StoreUnavailable`."""


class UnitOfWork(Protocol):
    """Where units of work are handed in."""

    async def write(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``work`` in a transaction that is on disk when this returns."""

    async def read(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``work`` on one consistent view of the data; it must not write."""


class Database:
    """A database that is open: hand it units of work.

    Raises `StoreUnavailable`, whatever it is asked, where the database is full, locked, read-only or away; then
    nothing of that unit of work was kept. A unit of work may be run again before that: it must do nothing but what
    the connection undoes. Whatever else goes wrong in it is raised as SQLAlchemy says it, or SQLite's driver.
    """

    def __init__(self, url: str) -> None:
        self._engine = _engine(url)

    async def open(self) -> None:
        """Make the file where there is none, and bring the schema up to date. Safe to repeat, also at once."""
        await self._engine.open()
        await self.write(migrate.upgrade)

    async def close(self) -> None:
        """Finish what runs, and let go of the database."""
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
        """`read`, for what finds a few rows by an index and cannot wait: it may hold up the event loop."""
        return await self._engine.read_inline(lambda connection: work(connection, *args, **kwargs))


def backend_of(url: str) -> str:
    """``sqlite`` or ``postgresql``. Raises `ConfigurationError` for anything else."""
    return parse_database_url(url).get_backend_name()


def parse_database_url(url: str) -> URL:
    """Return DATABASE_URL, whose driver is the one that is used here. Raises `ConfigurationError` for anything
    else.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # a port that is no number is the latter
        raise ConfigurationError(
            f"DATABASE_URL is no database URL: use {_EXAMPLES}. Characters as @ : / # in a password are written as "
            "%40 %3A %2F %23."
        ) from None
    name = parsed.drivername.partition("+")[0].lower()
    if name == "sqlite":
        if parsed.host:
            raise ConfigurationError(
                f"DATABASE_URL has two slashes after sqlite, and a file takes three: use {_EXAMPLES}."
            )
        return parsed.set(drivername="sqlite")
    if name in _POSTGRESQL:
        return parsed.set(drivername="postgresql+asyncpg")
    raise ConfigurationError(f"DATABASE_URL names a database that is not served here ({name}): use {_EXAMPLES}.")


def _engine(url: str) -> Backend:
    parsed = parse_database_url(url)
    return (Sqlite if parsed.get_backend_name() == "sqlite" else Postgresql)(parsed)
