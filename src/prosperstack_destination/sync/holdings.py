"""The leases of this process: one look at a time, in a transaction, as `sync.sharing` decides."""

from collections.abc import Set
from dataclasses import dataclass, field

from sqlalchemy import Connection

from prosperstack_destination.clock import Clock
from prosperstack_destination.state import leases
from prosperstack_destination.state.database import Database
from prosperstack_destination.state.dialects import database_now
from prosperstack_destination.sync.sharing import (
    HEARTBEAT_EVERY,
    LEASE_FOR,
    LeasePlan,
    LeaseView,
    as_stored,
    decide,
)
from prosperstack_destination.sync.tenure import HeldLease


@dataclass(frozen=True, slots=True)
class Changes:
    """What a look changed for this process."""

    taken: Set[str] = frozenset()
    lost: Set[str] = frozenset()
    #: Whoever works at these has to come to an end; a later look gives them up.
    asked_back: Set[str] = frozenset()


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
    tenures: dict[str, HeldLease] = field(default_factory=dict)
    #: In the hands of others, as of the last look.
    elsewhere: Set[str] = frozenset()
    #: Whether this is the first of the replicas that are alive: what one has to do for all is up to it.
    is_first: bool = False
    _looked_at: int | None = None

    def needs_a_look(self, wanted: Set[str]) -> bool:
        """Whether it is time for a look: to renew what is held, or because of accounts that nobody has."""
        due = self._looked_at is None or self.ticks() - self._looked_at >= HEARTBEAT_EVERY
        return due or not wanted <= self.tenures.keys() | self.elsewhere

    async def look(self, wanted: Set[str], resting: Set[str], retired: Set[str]) -> Changes:
        """Renew, take and give up leases; see `Situation` for the arguments. Raises `StoreUnavailable`."""
        held = {account: tenure.lease.fence for account, tenure in self.tenures.items()}
        asked_at = self.ticks()
        moves, self.is_first = await self.database.write(_look, self.replica, held, wanted, resting, retired)
        self._looked_at = asked_at
        self.elsewhere = moves.elsewhere
        until = asked_at + LEASE_FOR  # the database counts from a time after we asked
        for account in moves.kept:
            self.tenures[account].until = until
        for account in [*moves.lost, *(lease.account_id for lease in moves.given_up)]:
            if tenure := self.tenures.pop(account, None):
                tenure.until = asked_at
        for lease in moves.taken:
            self.tenures[lease.account_id] = HeldLease(lease, until, self.ticks)
        return Changes({lease.account_id for lease in moves.taken}, moves.lost, moves.asked_back)

    async def leave(self) -> None:
        """Give up everything: others take over at once. Raises `StoreUnavailable`."""
        await self.database.write(leases.leave, self.replica)
        self.tenures.clear()


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
    moves = decide(
        LeaseView(now, me, replicas, leases.load(connection, wanted | held.keys()), held, wanted, resting, retired)
    )
    leases.remove(connection, moves.dead)
    leases.heartbeat(connection, me, now + LEASE_FOR)
    leases.renew(connection, me, now + LEASE_FOR)
    stored = leases.store(connection, [*moves.taken, *moves.given_up])
    moves = as_stored(moves, stored, held.keys())
    return moves, me == min({*replicas, me} - moves.dead)
