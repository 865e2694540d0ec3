"""Running units of work in transactions.

A unit of work is a plain function of a SQLAlchemy ``Connection``; it is the same for both engines.
"""

from collections.abc import Callable
from typing import Concatenate, Final, ParamSpec, Protocol, TypeVar

from sqlalchemy import URL, Connection, make_url
from sqlalchemy.exc import ArgumentError

from prosperstack_destination.errors import Misconfigured
from prosperstack_destination.state import migrating
from prosperstack_destination.state.postgresql import Postgresql
from prosperstack_destination.state.sqlite import Sqlite

P = ParamSpec("P")
T = TypeVar("T")

#: "postgres" is what hosting companies write.
_POSTGRESQL: Final = frozenset({"postgresql", "postgres"})


class Engine(Protocol):
    """A kind of database."""

    async def open(self) -> None:
        """Be ready for transactions."""

    async def close(self) -> None:
        """Finish what runs, and let go."""

    async def run(self, work: Callable[[Connection], T], *, writing: bool) -> T:
        """Run a unit of work in a transaction; when this returns it is on disk. Raises `StoreUnavailable`."""

    async def glance(self, work: Callable[[Connection], T]) -> T:
        """Run a unit of work that reads a few rows, with as little delay as can be. Raises `StoreUnavailable`."""


class Store(Protocol):
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
        await self.write(migrating.upgrade)

    async def close(self) -> None:
        """Finish what runs, and let go of the database."""
        await self._engine.close()

    async def write(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``work`` in a transaction that is on disk when this returns."""
        return await self._engine.run(lambda connection: work(connection, *args, **kwargs), writing=True)

    async def read(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``work`` on one consistent view of the data; it must not write."""
        return await self._engine.run(lambda connection: work(connection, *args, **kwargs), writing=False)

    async def glance(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`read`, for what finds a few rows by an index and cannot wait: it may hold up the event loop."""
        return await self._engine.glance(lambda connection: work(connection, *args, **kwargs))


def backend_of(url: str) -> str:
    """``sqlite`` or ``postgresql``. Raises `Misconfigured` for anything else."""
    name = _parsed(url).get_backend_name()
    if name != "sqlite" and name not in _POSTGRESQL:
        raise Misconfigured(
            "DATABASE_URL names a database that is not served here: use sqlite:///path/to/file.db or "
            "postgresql+asyncpg://user:password@host/database"
        )
    return "sqlite" if name == "sqlite" else "postgresql"


def _engine(url: str) -> Engine:
    return (Sqlite if backend_of(url) == "sqlite" else Postgresql)(_parsed(url))


def _parsed(url: str) -> URL:
    try:
        return make_url(url)
    except ArgumentError:
        raise Misconfigured("DATABASE_URL is no SQLAlchemy URL, as in sqlite:///path/to/file.db") from None
