"""Holding the lease of one account: what may be sent and written under it, and what is in doubt when it is lost."""

from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Concatenate, ParamSpec, TypeVar
from urllib.parse import unquote

from sqlalchemy import Connection

from prosperstack_destination.clock import Clock
from prosperstack_destination.errors import LeaseLost
from prosperstack_destination.reconcile.lease_balancing import (
    HEARTBEAT_INTERVAL,
    LEASE_TTL,
    LeasePlan,
    LeaseView,
    plan_leases,
    with_stored,
)
from prosperstack_destination.store import leases
from prosperstack_destination.store.database import Database
from prosperstack_destination.store.dialects import database_now
from prosperstack_destination.store.leases import Lease

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

    def confirm_before(self, began_at: int) -> None:
        """A write that was begun at ``asked_at`` (ticks) was accepted: the lease was ours until then."""
        for subscriber_id, ended_at in list(self._unconfirmed.items()):
            if ended_at is not None and ended_at <= began_at:
                del self._unconfirmed[subscriber_id]

    @property
    def unconfirmed(self) -> list[str]:
        """Subscribers that were written to when the lease was perhaps another's: who knows in which order."""
        return sorted(self._unconfirmed)


class FencedStore:
    """The database, as the owner of a lease may write to it: with the lease checked in the same transaction."""

    def __init__(self, database: Database, held_lease: HeldLease, ticks: Clock) -> None:
        self._database = database
        self._held_lease = held_lease
        self._ticks = ticks

    async def write(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``work`` as `Database.write` does. Raises `LeaseLost` where another replica has the lease."""
        lease = self._held_lease.lease
        asked_at = self._ticks()

        def fenced(connection: Connection) -> T:
            leases.assert_held(connection, lease.account_id, lease.owner, lease.fence)
            return work(connection, *args, **kwargs)

        result = await self._database.write(fenced)
        self._held_lease.confirm_before(asked_at)
        return result

    async def read(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``work`` as `Database.read` does."""
        return await self._database.read(work, *args, **kwargs)


@dataclass(frozen=True, slots=True)
class LeaseChanges:
    """What a look changed for this process."""

    taken: Set[str] = frozenset()
    lost: Set[str] = frozenset()
    #: Whoever works at these has to come to an end; a later look gives them up.
    draining: Set[str] = frozenset()


@dataclass(slots=True)
class LeaseManager:
    """Which accounts this replica spends the requests of.

    ``ticks`` is a clock of our own that never steps, and goes on while the machine sleeps, in microseconds.
    """

    #: Another one each time that a process starts.
    replica: str
    database: Database
    ticks: Clock
    #: By account.
    held: dict[str, HeldLease] = field(default_factory=dict)
    #: In the hands of others, as of the last look.
    elsewhere: Set[str] = frozenset()
    #: Whether this is the first of the replicas that are alive: what one has to do for all is up to it.
    is_first: bool = False
    _rebalanced_at: int | None = None

    def is_due(self, wanted: Set[str]) -> bool:
        """Whether it is time for a look: to renew what is held, or because of accounts that nobody has."""
        due = self._rebalanced_at is None or self.ticks() - self._rebalanced_at >= HEARTBEAT_INTERVAL
        return due or not wanted <= self.held.keys() | self.elsewhere

    async def rebalance(self, wanted: Set[str], resting: Set[str], retired: Set[str]) -> LeaseChanges:
        """Renew, take and give up leases; see `Situation` for the arguments. Raises `StoreUnavailable`."""
        held = {account: tenure.lease.fence for account, tenure in self.held.items()}
        asked_at = self.ticks()
        moves, self.is_first = await self.database.write(_look, self.replica, held, wanted, resting, retired)
        self._rebalanced_at = asked_at
        self.elsewhere = moves.elsewhere
        until = asked_at + LEASE_TTL  # the database counts from a time after we asked
        for account in moves.kept:
            self.held[account].until = until
        for account in [*moves.lost, *(lease.account_id for lease in moves.given_up)]:
            if tenure := self.held.pop(account, None):
                tenure.until = asked_at
        for lease in moves.taken:
            self.held[lease.account_id] = HeldLease(lease, until, self.ticks)
        return LeaseChanges({lease.account_id for lease in moves.taken}, moves.lost, moves.draining)

    async def release_all(self) -> None:
        """Give up everything: others take over at once. Raises `StoreUnavailable`."""
        await self.database.write(leases.leave, self.replica)
        self.held.clear()


def _look(
    connection: Connection,
    me: str,
    held: dict[str, int],
    wanted: Set[str],
    resting: Set[str],
    retired: Set[str],
) -> tuple[LeasePlan, bool]:
    leases.one_at_a_time(connection)
    now = database_now(connection)
    replicas = leases.live_replicas(connection)
    moves = plan_leases(
        LeaseView(now, me, replicas, leases.load(connection, wanted | held.keys()), held, wanted, resting, retired)
    )
    leases.remove(connection, moves.dead)
    leases.heartbeat(connection, me, now + LEASE_TTL)
    leases.renew(connection, me, now + LEASE_TTL)
    stored = leases.store(connection, [*moves.taken, *moves.given_up])
    moves = with_stored(moves, stored, held.keys())
    return moves, me == min({*replicas, me} - moves.dead)
