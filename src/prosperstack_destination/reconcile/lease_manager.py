"""Leases of this replica: taking, renewing and giving them up, and fencing the writes made under them."""

from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Concatenate, ParamSpec, TypeVar
from urllib.parse import unquote

from sqlalchemy import Connection

from prosperstack_destination.clock import Clock
from prosperstack_destination.errors import LeaseLost
from prosperstack_destination.reconcile.lease_protocol import (
    LeasePlan,
    LeaseView,
    plan_leases,
    with_stored,
)
from prosperstack_destination.store import leases
from prosperstack_destination.store.database import Database
from prosperstack_destination.store.leases import HEARTBEAT_INTERVAL, LEASE_TTL, Lease
from prosperstack_destination.store.statements import database_now

P = ParamSpec("P")
T = TypeVar("T")


class HeldLease:
    """A lease that this process took.

    ``ticks`` is a monotonic clock in microseconds that also counts while the machine sleeps. ``until`` is the time
    by that clock at which the lease may have expired.
    """

    def __init__(self, lease: Lease, until: int, ticks: Clock) -> None:
        self.lease = lease
        self.until = until
        self._ticks = ticks
        #: Subscribers that were written to, with the end of the request; None: it is in flight. An entry is removed
        #: when a later fenced write succeeds: until then no other replica can have written to them.
        self._unconfirmed: dict[str, int | None] = {}

    def check(self) -> None:
        """Raise `LeaseLost` where the lease may have expired."""
        if self._ticks() >= self.until:
            raise LeaseLost("The account's lease expired before it was renewed.")

    @contextmanager
    def guard(self, method: str, url: str) -> Iterator[None]:
        """Guard one request to ProsperStack; see `prosperstack.client.Guard`."""
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
        """Confirm updates that ended before a fenced write that began at ``began_at`` (ticks) and succeeded."""
        for subscriber_id, ended_at in list(self._unconfirmed.items()):
            if ended_at is not None and ended_at <= began_at:
                del self._unconfirmed[subscriber_id]

    @property
    def unconfirmed(self) -> list[str]:
        """Subscribers that were written to while another replica may have held the lease: the order is unknown."""
        return sorted(self._unconfirmed)


class FencedStore:
    """The database for the owner of a lease: each write checks the lease in its transaction."""

    def __init__(self, database: Database, held_lease: HeldLease, ticks: Clock) -> None:
        self._database = database
        self._held_lease = held_lease
        self._ticks = ticks

    async def write(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``work`` as `Database.write` does. Raises `LeaseLost` where another replica holds the lease."""
        lease = self._held_lease.lease
        began_at = self._ticks()

        def fenced(connection: Connection) -> T:
            leases.assert_held(connection, lease.account_id, lease.owner, lease.fence)
            return work(connection, *args, **kwargs)

        result = await self._database.write(fenced)
        self._held_lease.confirm_before(began_at)
        return result

    async def read(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``work`` as `Database.read` does."""
        return await self._database.read(work, *args, **kwargs)


@dataclass(frozen=True, slots=True)
class LeaseChanges:
    """Changes of the leases held by this process."""

    taken: Set[str] = frozenset()
    lost: Set[str] = frozenset()
    #: Accounts whose workers have to stop, so that a later heartbeat can give them up.
    draining: Set[str] = frozenset()


@dataclass(slots=True)
class LeaseManager:
    """The accounts that this replica holds.

    ``ticks`` is a monotonic clock in microseconds that also counts while the machine sleeps.
    """

    #: Name of this process; a new one at each start.
    replica: str
    database: Database
    ticks: Clock
    #: Held leases by account.
    held: dict[str, HeldLease] = field(default_factory=dict)
    #: Accounts that other replicas hold, as of the last heartbeat.
    elsewhere: Set[str] = frozenset()
    #: True if this is the first of the live replicas: it does the work that one replica does for all.
    is_first: bool = False
    _rebalanced_at: int | None = None

    def is_due(self, wanted: Set[str]) -> bool:
        """Return whether to rebalance: a renewal is due, or wanted accounts may be free."""
        due = self._rebalanced_at is None or self.ticks() - self._rebalanced_at >= HEARTBEAT_INTERVAL
        return due or not wanted <= self.held.keys() | self.elsewhere

    async def rebalance(self, wanted: Set[str], idle: Set[str], long_idle: Set[str]) -> LeaseChanges:
        """Renew, take and give up leases; see `LeaseView` for the arguments. Raises `StoreUnavailable`."""
        held = {account: held_lease.lease.fence for account, held_lease in self.held.items()}
        began_at = self.ticks()
        plan, self.is_first = await self.database.write(_rebalance, self.replica, held, wanted, idle, long_idle)
        self._rebalanced_at = began_at
        self.elsewhere = plan.elsewhere
        until = began_at + LEASE_TTL  # the database counts from a later time
        for account in plan.kept:
            self.held[account].until = until
        for account in [*plan.lost, *(lease.account_id for lease in plan.given_up)]:
            if held_lease := self.held.pop(account, None):
                held_lease.until = began_at
        for lease in plan.taken:
            self.held[lease.account_id] = HeldLease(lease, until, self.ticks)
        return LeaseChanges({lease.account_id for lease in plan.taken}, plan.lost, plan.draining)

    async def release_all(self) -> None:
        """Give up all leases, so that other replicas take over at once. Raises `StoreUnavailable`."""
        await self.database.write(leases.release_all, self.replica)
        self.held.clear()


def _rebalance(
    connection: Connection,
    replica: str,
    held: dict[str, int],
    wanted: Set[str],
    idle: Set[str],
    long_idle: Set[str],
) -> tuple[LeasePlan, bool]:
    leases.lock_decisions(connection)
    now = database_now(connection)
    replicas = leases.live_replicas(connection)
    plan = plan_leases(
        LeaseView(
            now, replica, replicas, leases.load(connection, wanted | held.keys()), held, wanted, idle, long_idle
        )
    )
    leases.remove(connection, plan.dead)
    leases.heartbeat(connection, replica, now + LEASE_TTL)
    leases.renew(connection, replica, now + LEASE_TTL)
    stored = leases.store(connection, [*plan.taken, *plan.given_up])
    plan = with_stored(plan, stored, held.keys())
    return plan, replica == min({*replicas, replica} - plan.dead)
