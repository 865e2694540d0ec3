"""Holding the lease of one account: what may be sent and written under it, and what is in doubt when it is lost."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Concatenate, ParamSpec, TypeVar
from urllib.parse import unquote

from sqlalchemy import Connection

from prosperstack_destination.clock import Clock
from prosperstack_destination.errors import LeaseLost
from prosperstack_destination.state import leases
from prosperstack_destination.state.database import Database
from prosperstack_destination.state.leases import Lease

P = ParamSpec("P")
T = TypeVar("T")


class HeldLease:
    """A lease that this process took.

    ``ticks`` is a clock of our own that never steps, and goes on while the machine sleeps, in microseconds.
    ``until`` is when the lease may have run out by it.
    """

    def __init__(self, lease: Lease, until: int, ticks: Clock) -> None:
        self.lease = lease
        self.until = until
        self._ticks = ticks
        #: Subscribers that were written to, and when that ended; None: it goes on. Gone once a write of ours was
        #: accepted that began later: until then nobody else can have written to them.
        self._unconfirmed: dict[str, int | None] = {}

    def check(self) -> None:
        """Raise `LeaseLost` where the lease may have run out."""
        if self._ticks() >= self.until:
            raise LeaseLost("The account's lease ran out before it was renewed.")

    @contextmanager
    def guard(self, method: str, url: str) -> Iterator[None]:
        """Stand around one request to ProsperStack; see `prosperstack.client.Guard`."""
        self.check()
        if method == "GET":
            yield
            return
        subscriber_id = unquote(url.rpartition("/")[2])
        self._unconfirmed[subscriber_id] = None
        try:
            yield
        finally:
            self._unconfirmed[subscriber_id] = self._ticks()

    def confirmed(self, asked_at: int) -> None:
        """A write that was begun at ``asked_at`` (ticks) was accepted: the lease was ours until then."""
        for subscriber_id, ended_at in list(self._unconfirmed.items()):
            if ended_at is not None and ended_at <= asked_at:
                del self._unconfirmed[subscriber_id]

    @property
    def unconfirmed(self) -> list[str]:
        """Subscribers that were written to when the lease was perhaps another's: who knows in which order."""
        return sorted(self._unconfirmed)


class FencedStore:
    """The database, as the owner of a lease may write to it: with the lease checked in the same transaction."""

    def __init__(self, database: Database, tenure: HeldLease, ticks: Clock) -> None:
        self._database = database
        self._tenure = tenure
        self._ticks = ticks

    async def write(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``work`` as `Database.write` does. Raises `LeaseLost` where another replica has the lease."""
        lease = self._tenure.lease
        asked_at = self._ticks()

        def fenced(connection: Connection) -> T:
            leases.assert_held(connection, lease.account_id, lease.owner, lease.fence)
            return work(connection, *args, **kwargs)

        result = await self._database.write(fenced)
        self._tenure.confirmed(asked_at)
        return result

    async def read(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``work`` as `Database.read` does."""
        return await self._database.read(work, *args, **kwargs)
